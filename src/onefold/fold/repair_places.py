"""Where a folded network is repaired: norms, each at all places where it runs, and layers without a
norm.

A norm that runs at several places (siamese branches, heads over the levels of a pyramid, blocks run
twice) has one set of statistics. They are the means of its inputs' means and of their variances
over those places, each place counting alike. So does batch norm itself in training, which updates
its statistics once at every place; the gaps between the places' means are no part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from onefold.alignment import Target
from onefold.alignment.moments import Moments
from onefold.batchnorm import FEW, scale_output
from onefold.errors import DataError
from onefold.layers import Layer, Norm
from onefold.symmetry import SymmetrySpec

NEAR = (
    1e-4  # of a deviation: means and deviations that close to the wanted ones are left as they are
)
# a channel whose deviation is below this share of its target is dead: it is shifted but not scaled
# up
FLOOR = 1e-6


@dataclass(eq=False)
class Place:
    """One node whose value is repaired along `axis`; norm: the norm that runs there, None for a
    layer without one.

    least: the fewest values of a channel in any batch so far. moments: of the node's value before
    it is corrected. inputs: mean and variance (channels,) of what the norm read, float64.
    """

    node: str
    axis: int
    norm: Norm | None
    site: Site
    least: int = 2**62
    moments: Moments | None = None
    inputs: tuple[Tensor, Tensor] | None = None

    def begin(self) -> None:
        """Forget what was measured, before a pass."""
        self.moments = self.inputs = None

    def corrected(self, value: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        """`value` brought to the place's aim by its own batch statistics, which are recorded."""
        rows = value.movedim(self.axis, -1)
        flat = rows.reshape(-1, rows.shape[-1])
        self.least = min(self.least, len(flat))
        own = Moments(1, flat.shape[1], None, full=False, device=flat.device)
        own.update([flat])
        if self.moments is None:
            self.moments = Moments(1, flat.shape[1], None, full=False, device=flat.device)
        self.moments = self.moments.merge(own)
        mean, deviation = self.aim(state)
        gain = _gain(own.variances[0].sqrt(), deviation)
        shape = [1] * value.dim()
        shape[self.axis] = -1
        offset = mean - own.means[0] * gain
        return value * gain.to(value.dtype).reshape(shape) + offset.to(value.dtype).reshape(shape)

    def end(self, state: Mapping[str, Tensor], device: torch.device, *, shared: bool) -> None:
        """Sum the moments over all ranks where they are `shared`, and read off what the norm's
        inputs were like.

        Raises:
            DataError: all of the data gives one value of each channel, which has no variance.
        """
        if shared:
            empty = Moments(1, len(self.aim(state)[0]), None, full=False, device=device)
            self.moments = (self.moments or empty).reduced()
        if self.moments is None or self.moments.count == 0:  # all batches were left out
            return
        if self.moments.count < 2:
            raise DataError(
                f"'{self.site.name}' gives one value of each channel on all of the calibration"
                " data, which has no variance; pass more examples, or use repair='none'."
            )
        if self.norm is None:
            return
        # The norm's input statistics follow from its output's, since its running statistics and
        # affine part are known.
        mean, deviation = self.moments.means[0], self.moments.variances[0].sqrt()
        scale, shift = affine(self.norm, state)
        before = state[self.norm.mean].double(), state[self.norm.variance].double()
        spread = (before[1] + self.norm.eps).sqrt()
        safe = torch.where(scale == 0, 1.0, scale)
        variance = ((deviation * spread / safe) ** 2 - self.norm.eps).clamp_min(0.0)
        self.inputs = (
            torch.where(scale == 0, before[0], (mean - shift) * spread / safe + before[0]),
            torch.where(scale == 0, before[1], variance),
        )

    def stands(self, state: Mapping[str, Tensor]) -> bool:
        """Whether what was measured is what is wanted, up to NEAR of the wanted deviation."""
        if self.moments is None or self.moments.count == 0:
            return False
        mean, deviation = self.aim(state)
        near = NEAR * deviation.clamp_min(FLOOR)
        own = self.moments.means[0], self.moments.variances[0].sqrt()
        return bool(
            ((own[0] - mean).abs() <= near).all() and ((own[1] - deviation).abs() <= near).all()
        )

    def aim(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and deviation that the value shall have: the target's, or what the norm's own affine
        part asks for.
        """
        site = self.site
        if site.target is not None:
            device = (
                state[site.layer.weight].device
                if site.layer is not None
                else site.target.mean.device
            )
            return site.target.mean.to(device), site.target.deviation.to(device)
        assert self.norm is not None
        scale, shift = affine(self.norm, state)
        return shift, scale.abs()


@dataclass(eq=False)
class Site:
    """What is repaired at once: a norm (with or without the layer that it folds into) or a layer
    without one.

    target: what its output shall be like; None lets a norm keep its affine part.
    """

    layer: Layer | None
    target: Target | None
    places: list[Place] = field(default_factory=list)
    dead: int = 0  # channels, when it was last written

    @property
    def name(self) -> str:
        """The state-dict name of the module that is repaired."""
        norm = self.places[0].norm
        tensor = (
            norm.mean
            if norm is not None
            else self.layer.weight
            if self.layer is not None
            else self.places[0].node
        )
        return tensor.rpartition(".")[0] or tensor

    @property
    def few(self) -> bool:
        """Whether a batch of enough examples gave too few values of a channel somewhere to be
        corrected by its own statistics.
        """
        return any(place.least < FEW for place in self.places)

    def write(self, state: dict[str, Tensor]) -> int:
        """Write the correction into the state, from all places that were measured; returns the
        number of dead channels.
        """
        measured = [place for place in self.places if place.moments is not None]
        moments = [place.moments for place in measured if place.moments is not None]
        mean = torch.stack([m.means[0] for m in moments]).mean(0)
        deviation = torch.stack([m.variances[0] for m in moments]).mean(0).sqrt()
        wanted_mean, wanted = measured[0].aim(state)
        gain = _gain(deviation, wanted)
        self.dead = int(
            (gain == 1.0).logical_and(deviation <= FLOOR * wanted.clamp_min(FLOOR)).sum()
        )

        def put(name: str, value: Tensor) -> None:
            state[name] = value.to(state[name].dtype)

        norm = measured[0].norm
        if norm is not None:
            scale, _ = affine(norm, state)
            inputs = [place.inputs for place in measured if place.inputs is not None]
            put(norm.mean, torch.stack([own for own, _ in inputs]).mean(0))
            put(norm.variance, torch.stack([own for _, own in inputs]).mean(0))
            if self.target is not None and norm.scale is not None and norm.shift is not None:
                put(norm.scale, torch.where(scale < 0, -wanted, wanted))
                put(norm.shift, wanted_mean)
            return self.dead
        layer = self.layer
        assert layer is not None
        assert layer.bias is not None
        state[layer.weight] = scale_output(state[layer.weight].double(), gain, layer).to(
            state[layer.weight].dtype
        )
        put(layer.bias, (state[layer.bias].double() - mean) * gain + wanted_mean)
        return self.dead


def places_of(
    spec: SymmetrySpec,
    state: Mapping[str, Tensor],
    targets: Mapping[str, Target],
    order: Sequence[str],
) -> list[Place]:
    """All places of all norms, and of all layers without one that have a target and a bias to write
    it to, by the nodes' `order`.

    A layer whose weight is used more than once is left alone: what one use needs another may not.
    """
    owner = {layer.norm.node: layer for layer in spec.layers if layer.norm is not None}
    found: dict[tuple[str, str], Site] = {}
    places: list[Place] = []
    for norm in spec.norms:
        target = (
            targets.get(norm.node) if norm.scale is not None and norm.shift is not None else None
        )
        site = found.setdefault((norm.mean, norm.variance), Site(owner.get(norm.node), target))
        site.places.append(Place(norm.node, 1, norm, site))
        places.append(site.places[-1])
    for layer in spec.layers:
        plain = (
            layer.norm is None
            and layer.bias is not None
            and not layer.shared
            and layer.output in targets
        )
        if (
            plain
            and layer.bias is not None
            and state[layer.weight].is_floating_point()
            and state[layer.bias].is_floating_point()
        ):
            site = Site(layer, targets[layer.output])
            site.places.append(Place(layer.output, layer.output_axis, None, site))
            places.append(site.places[-1])
    rank = {node: k for k, node in enumerate(order)}
    return sorted(places, key=lambda place: rank[place.node])


def affine(norm: Norm, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Scale and shift of a norm, float64; ones and zeros where it has none."""
    mean = state[norm.mean].double()
    scale = state[norm.scale].double() if norm.scale is not None else torch.ones_like(mean)
    shift = state[norm.shift].double() if norm.shift is not None else torch.zeros_like(mean)
    return scale, shift


def _gain(measured: Tensor, wanted: Tensor) -> Tensor:
    alive = measured > FLOOR * wanted.clamp_min(FLOOR)
    return torch.where(alive, wanted / measured.clamp_min(1e-30), 1.0)
