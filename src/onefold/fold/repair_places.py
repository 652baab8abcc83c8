"""Places of repair: norms, each at all places where it runs, and layers without a norm.

A norm that runs at several places (siamese branches, heads over the levels of a pyramid, blocks run
twice) has one set of statistics. They are the means of its inputs' means and of their variances
over those places, each place counting alike. Batch norm itself does so in training, which updates
its statistics once at every place. The gaps between the places' means are no part of it.
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

# Means and deviations within this share of the wanted deviation are left as they are.
NEAR = 1e-4
# A channel whose deviation is below this share of its target is dead: it is shifted, not scaled up.
FLOOR = 1e-6


@dataclass(eq=False)
class Place:
    """One node whose value is repaired.

    Attributes:
        node: the node.
        axis: the axis of its channels.
        norm: the norm that runs there; None for a layer without one.
        site: what is repaired there.
        least: the fewest values of a channel in any batch so far.
        moments: of the node's value before it is corrected.
        inputs: mean and variance (channels,) of the norm's inputs, float64.
    """

    node: str
    axis: int
    norm: Norm | None
    site: Site
    least: int = 2**62
    moments: Moments | None = None
    inputs: tuple[Tensor, Tensor] | None = None

    def begin(self) -> None:
        """Clear the measurements, before a pass."""
        self.moments = self.inputs = None

    def corrected(self, value: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        """`value` with the wanted statistics, corrected by its own, which are recorded."""
        rows = value.movedim(self.axis, -1)
        flat = rows.reshape(-1, rows.shape[-1])
        self.least = min(self.least, len(flat))
        of_batch = Moments(1, flat.shape[1], None, full=False, device=flat.device)
        of_batch.update([flat])
        if self.moments is None:
            self.moments = Moments(1, flat.shape[1], None, full=False, device=flat.device)
        self.moments = self.moments.merge(of_batch)
        mean, deviation = self.wanted(state)
        gain = _gain(of_batch.variances[0].sqrt(), deviation)
        shape = [1] * value.dim()
        shape[self.axis] = -1
        offset = mean - of_batch.means[0] * gain
        return value * gain.to(value.dtype).reshape(shape) + offset.to(value.dtype).reshape(shape)

    def end(self, state: Mapping[str, Tensor], device: torch.device, *, shared: bool) -> None:
        """Derive the statistics of the norm's inputs, after a pass.

        Moments are summed over all ranks if they are `shared`.

        Raises:
            DataError: all of the data gives one value of each channel, which has no variance.
        """
        if shared:
            empty = Moments(1, len(self.wanted(state)[0]), None, full=False, device=device)
            self.moments = (self.moments or empty).reduced()
        if self.moments is None or self.moments.count == 0:  # no batch was used
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

    def is_settled(self, state: Mapping[str, Tensor]) -> bool:
        """Whether the measured statistics are as wanted, up to NEAR of the wanted deviation."""
        if self.moments is None or self.moments.count == 0:
            return False
        mean, deviation = self.wanted(state)
        near = NEAR * deviation.clamp_min(FLOOR)
        means_agree = ((self.moments.means[0] - mean).abs() <= near).all()
        measured = self.moments.variances[0].sqrt()
        return bool(means_agree and ((measured - deviation).abs() <= near).all())

    def wanted(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The wanted mean and deviation of the value.

        They are the target's, or those of the norm's own affine part.
        """
        site = self.site
        if site.target is not None:
            device = site.target.mean.device
            if site.layer is not None:
                device = state[site.layer.weight].device
            return site.target.mean.to(device), site.target.deviation.to(device)
        assert self.norm is not None
        scale, shift = affine(self.norm, state)
        return shift, scale.abs()


@dataclass(eq=False)
class Site:
    """A module that is repaired: a norm, with or without its layer, or a layer without a norm.

    Attributes:
        layer: the layer; None for a norm without one.
        target: the wanted statistics of its output; None lets a norm keep its affine part.
        places: where it runs.
        dead: the number of dead channels when it was last written.
    """

    layer: Layer | None
    target: Target | None
    places: list[Place] = field(default_factory=list)
    dead: int = 0  # channels, when it was last written

    @property
    def name(self) -> str:
        """The state-dict name of the module that is repaired."""
        norm, tensor = self.places[0].norm, self.places[0].node
        if norm is not None:
            tensor = norm.mean
        elif self.layer is not None:
            tensor = self.layer.weight
        return tensor.rpartition(".")[0] or tensor

    @property
    def few(self) -> bool:
        """Whether a batch of enough examples gave too few values of a channel somewhere.

        Such values cannot be corrected by their own statistics.
        """
        return any(place.least < FEW for place in self.places)

    def write(self, state: dict[str, Tensor]) -> int:
        """Write the correction into the state, from all places that were measured.

        Returns:
            The number of dead channels.
        """
        measured = [place for place in self.places if place.moments is not None]
        moments = [place.moments for place in measured if place.moments is not None]
        mean = torch.stack([m.means[0] for m in moments]).mean(0)
        deviation = torch.stack([m.variances[0] for m in moments]).mean(0).sqrt()
        wanted_mean, wanted = measured[0].wanted(state)
        gain = _gain(deviation, wanted)
        below = deviation <= FLOOR * wanted.clamp_min(FLOOR)
        self.dead = int((gain == 1.0).logical_and(below).sum())

        def put(name: str, value: Tensor) -> None:
            state[name] = value.to(state[name].dtype)

        norm = measured[0].norm
        if norm is not None:
            scale, _ = affine(norm, state)
            inputs = [place.inputs for place in measured if place.inputs is not None]
            put(norm.mean, torch.stack([mean for mean, _ in inputs]).mean(0))
            put(norm.variance, torch.stack([variance for _, variance in inputs]).mean(0))
            if self.target is not None and norm.scale is not None and norm.shift is not None:
                put(norm.scale, torch.where(scale < 0, -wanted, wanted))
                put(norm.shift, wanted_mean)
            return self.dead
        layer = self.layer
        assert layer is not None
        assert layer.bias is not None
        put(layer.weight, scale_output(state[layer.weight].double(), gain, layer))
        put(layer.bias, (state[layer.bias].double() - mean) * gain + wanted_mean)
        return self.dead


def places_of(
    spec: SymmetrySpec,
    state: Mapping[str, Tensor],
    targets: Mapping[str, Target],
    order: Sequence[str],
) -> list[Place]:
    """All places of repair, by the nodes' `order`.

    These are the places of all norms, and of all layers without one that have a target and a bias
    to write it to. A layer whose weight is used more than once is left alone: what one use needs
    another may not.
    """
    owner = {layer.norm.node: layer for layer in spec.layers if layer.norm is not None}
    found: dict[tuple[str, str], Site] = {}
    places: list[Place] = []
    for norm in spec.norms:
        affine_part = norm.scale is not None and norm.shift is not None
        target = targets.get(norm.node) if affine_part else None
        site = found.setdefault((norm.mean, norm.variance), Site(owner.get(norm.node), target))
        site.places.append(Place(norm.node, 1, norm, site))
        places.append(site.places[-1])
    for layer in spec.layers:
        if layer.norm is not None or layer.bias is None or layer.shared:
            continue
        tensors = state[layer.weight], state[layer.bias]
        if layer.output in targets and all(tensor.is_floating_point() for tensor in tensors):
            site = Site(layer, targets[layer.output])
            site.places.append(Place(layer.output, layer.output_axis, None, site))
            places.append(site.places[-1])
    rank = {node: k for k, node in enumerate(order)}
    return sorted(places, key=lambda place: rank[place.node])


def affine(norm: Norm, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Scale and shift of a norm, float64; ones and zeros if it has none."""
    mean = state[norm.mean].double()
    scale = state[norm.scale].double() if norm.scale is not None else torch.ones_like(mean)
    shift = state[norm.shift].double() if norm.shift is not None else torch.zeros_like(mean)
    return scale, shift


def _gain(measured: Tensor, wanted: Tensor) -> Tensor:
    alive = measured > FLOOR * wanted.clamp_min(FLOOR)
    return torch.where(alive, wanted / measured.clamp_min(1e-30), 1.0)
