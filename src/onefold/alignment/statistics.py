"""Collect the moments that an alignment needs, in one pass of all members over the calibration
data.

The members run in lockstep through the traced graph. At every probed node the features of all
members meet, are added to the moments and are dropped, so that what is kept is (2K - 1) C^2 numbers
for each probe (K (K + 1) / 2 C^2 with all pairs of members; and K C^2, or K C for permutations, for
each layer output that repair will need) whatever the number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onefold.alignment.layout import Layout
from onefold.alignment.moments import Moments
from onefold.alignment.samples import check_least
from onefold.batches import Data, batches, check_dtype
from onefold.distributed import from_every_rank, raise_together
from onefold.errors import DataError
from onefold.layers import Layer
from onefold.progress import track
from onefold.symmetry import TracedNetwork, features, fibre_features
from onefold.symmetry.axes import Probe
from onefold.symmetry.spec import SymmetrySpec

TARGET_POSITIONS = 64  # of each example at a layer's output: its mean and deviation need no more


@dataclass(frozen=True)
class ReadPoint:
    """One place where moments are taken: a node and either a group probed there (its site `number`)
    or a layer whose output is measured.
    """

    node: str
    group: Layout | None = None
    layer: Layer | None = None
    number: int = 0

    def rows(self, value: Tensor, spec: SymmetrySpec) -> Tensor:
        """The (samples, C) features of a node's value here; batch elements and positions are
        samples.
        """
        if self.group is not None and self.group.apart:
            rows = fibre_features(value, spec.nodes[self.node], self.group.group)
            return rows.movedim(-2, 0).reshape(rows.shape[-2], -1)
        if self.group is not None:
            return features(value, spec.nodes[self.node], self.group.group)
        assert self.layer is not None
        moved = value.movedim(self.layer.output_axis, -1)
        return moved.reshape(-1, moved.shape[-1])


@dataclass
class Statistics:
    """Moments by group and by layer output, with how many examples they rest on and how many
    numbers they hold.
    """

    groups: dict[str, Moments]
    layers: dict[str, Moments]
    examples: int = 0
    before: int = 0  # numbers of moments that were kept and are gone, where everything is solved

    @property
    def numbers(self) -> int:
        """How many float64 numbers the moments hold together."""
        return self.before or sum(
            m.numbers
            for m in {id(m): m for m in (*self.groups.values(), *self.layers.values())}.values()
        )


def collect_statistics(
    traced: TracedNetwork,
    spec: SymmetrySpec,
    states: Sequence[Mapping[str, Tensor]],
    data: Data,
    *,
    probes: Mapping[str, Sequence[Probe]],
    layouts: Mapping[str, Layout],
    reference: int | None,
    full: bool,
    every: bool = False,
    layers: Sequence[Layer] = (),
    max_positions: int | None = None,
    seed: int = 0,
    numbers: Sequence[int] | None = None,
) -> Statistics:
    """Run all members over `data` once and gather moments at the groups' probes and at the outputs
    of `layers`.

    Args:
        probes: what is read -> where; several places are pooled. layouts: what is read -> the
            group, and how its fibres stand.
        full: keep whole covariances of each member; False keeps variances. every: keep the cross
            moments of all pairs of members.
        layers: layers whose output means and deviations repair will need.
        max_positions: at most so many positions of each example serve as samples (a convolution has
            height x width of them).
        seed: of the draw of these positions.
        numbers: of the members, for messages; None: 0, 1, ...

    Under torch.distributed each process runs its own batches, and every one gets the moments of
    all.

    Raises:
        DataError: the data is empty, has the wrong dtype or cannot be run; or features are not
            finite.
    """
    device = next(iter(states[0].values())).device
    sites: dict[str, list[tuple[ReadPoint, Moments]]] = {}
    by_group: dict[str, Moments] = {}
    by_layer: dict[str, Moments] = {}
    for name, places in probes.items():
        layout = layouts[name]
        by_group[name] = Moments(
            len(states),
            layout.width,
            reference,
            full=full,
            every=every,
            sites=len(places),
            device=device,
        )
        for number, probe in enumerate(places):
            sites.setdefault(probe.node, []).append(
                (ReadPoint(probe.node, layout, number=number), by_group[name])
            )
    for layer in layers:
        axis = spec.nodes[layer.output][layer.output_axis]
        shared = [
            m
            for site, m in sites.get(layer.output, [])
            if site.group is not None and site.group.width == axis.size and m.sites == 1
        ]
        if (
            shared
        ):  # the layer's output alone is probed already, and the group is the whole channel axis
            by_layer[layer.output] = shared[0]
            continue
        by_layer[layer.output] = Moments(len(states), axis.size, None, full=full, device=device)
        sites.setdefault(layer.output, []).append(
            (ReadPoint(layer.output, layer=layer), by_layer[layer.output])
        )
    statistics = Statistics(by_group, by_layer)
    if not sites:  # nothing can move in this network, so there is nothing to measure
        return statistics
    dtype = next(t.dtype for t in states[0].values() if t.is_floating_point())
    last = max(sites, key={node.name: k for k, node in enumerate(traced.graph.nodes)}.__getitem__)

    def add(node: str, values: list[Tensor]) -> None:
        for site, moments in sites[node]:
            rows = [site.rows(value, spec) for value in values]
            cap = (
                max_positions
                if site.layer is None
                else min(max_positions or TARGET_POSITIONS, TARGET_POSITIONS)
            )
            if cap is not None:
                rows = sampled(rows, cap * current.size, seed + 7919 * current.index)
            moments.update(rows, site.number)

    with raise_together():
        for batch in track(batches(data, device, "calibration data"), "statistics"):
            current = traced.counted(batch)
            check_dtype(current, dtype)
            traced.replay(
                states, current.args, current.kwargs, visit=add, nodes=list(sites), until=last
            )
            statistics.examples += current.size
    statistics.examples = sum(from_every_rank(statistics.examples))
    statistics.groups = {name: moments.reduced() for name, moments in by_group.items()}
    statistics.layers = {
        node: statistics.groups[_key(by_group, m)] if _key(by_group, m) else m.reduced()
        for node, m in by_layer.items()
    }
    for name, moments in statistics.groups.items():
        _check(name, moments, layouts[name].group.size, numbers or range(len(states)))
    return statistics


def _key(by_group: Mapping[str, Moments], moments: Moments) -> str:
    return next((name for name, m in by_group.items() if m is moments), "")


def sampled(rows: list[Tensor], limit: int, seed: int) -> list[Tensor]:
    """The same `limit` rows of every member, drawn with replacement; all rows where there are no
    more.
    """
    count = len(rows[0])
    if count <= limit:
        return rows
    chosen = (
        torch.randint(count, (limit,), generator=torch.Generator().manual_seed(seed))
        .sort()
        .values.to(rows[0].device)
    )
    return [r.index_select(0, chosen) for r in rows]


def _check(name: str, moments: Moments, width: int, numbers: Sequence[int]) -> None:
    """Raises DataError for non-finite features, and for so few samples that nothing can be matched
    by them.
    """
    for k, variance in zip(numbers, moments.variances, strict=True):
        if not math.isfinite(float(variance.sum())):
            raise DataError(
                f"Member {k} gives non-finite features in group {name} on the calibration data;"
                " check its weights and the data's scale."
            )
    check_least(name, width, moments)
