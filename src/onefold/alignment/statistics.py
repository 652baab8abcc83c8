"""Moments of features, gathered in one pass of all members over the calibration data.

The members run in lockstep through the traced graph. At every probed node the features of all
members are added to the moments and are freed. In memory there are (2K - 1) C^2 numbers for each
probe (K (K + 1) / 2 C^2 with all pairs of members), whatever the number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from onefold.alignment.layout import Layout
from onefold.alignment.moments import Moments
from onefold.alignment.samples import check_least
from onefold.batches import Data, batches
from onefold.distributed import from_every_rank, raise_together
from onefold.errors import DataError
from onefold.forward import check_dtype
from onefold.layers import Layer
from onefold.progress import track
from onefold.symmetry import TracedNetwork, features, fibre_features
from onefold.symmetry.axes import Probe
from onefold.symmetry.spec import SymmetrySpec


@dataclass(frozen=True)
class ReadPoint:
    """A node where features are read: those of a group, or the output of a layer.

    Attributes:
        node: the node of the traced graph.
        group: the layout of the group that is probed there.
        layer: the layer whose output is measured there, if no group is.
        number: which of the group's several sites it is.
    """

    node: str
    group: Layout | None = None
    layer: Layer | None = None
    number: int = 0

    def rows(self, value: Tensor, spec: SymmetrySpec) -> Tensor:
        """The features (samples, C) in a node's value; examples and positions are samples."""
        if self.group is not None and self.group.apart:
            rows = fibre_features(value, spec.nodes[self.node], self.group.group)
            return rows.movedim(-2, 0).reshape(rows.shape[-2], -1)
        if self.group is not None:
            return features(value, spec.nodes[self.node], self.group.group)
        assert self.layer is not None
        moved = value.movedim(self.layer.output_axis, -1)
        return moved.reshape(-1, moved.shape[-1])


ReadPoints = dict[str, list[tuple[ReadPoint, Moments]]]  # by node


@dataclass
class Statistics:
    """The moments of every group that was read.

    Attributes:
        groups: the name of a group (with DUAL behind it for the features that take the inverse
            transpose) -> its moments.
        examples: how many examples were read.
        before: how many float64 numbers the moments held, if they are freed because all is solved.
    """

    groups: dict[str, Moments] = field(default_factory=dict)
    examples: int = 0
    before: int = 0

    @property
    def numbers(self) -> int:
        """How many float64 numbers the moments hold together."""
        return self.before or sum(
            m.numbers for m in {id(m): m for m in self.groups.values()}.values()
        )


@dataclass(frozen=True)
class Sampling:
    """Which positions of an example serve as samples.

    Attributes:
        positions: at most so many positions of each example are samples; None: all. The output of
            a convolution has height x width positions.
        seed: of their draw, with replacement.
    """

    positions: int | None = None
    seed: int = 0

    def rows(self, rows: list[Tensor], examples: int, batch: int) -> list[Tensor]:
        """The same drawn rows of every member.

        Args:
            rows: (samples, C) of each member.
            examples: how many examples the batch has.
            batch: the number of the batch.
        """
        if self.positions is None:
            return rows
        return sampled(rows, self.positions * examples, self.seed + 7919 * batch)


ALL = Sampling()


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
    sampling: Sampling = ALL,
    numbers: Sequence[int] | None = None,
) -> Statistics:
    """Run all members over `data` once and gather moments at the groups' probes.

    Under torch.distributed each process runs its own batches, and every one gets the moments of
    all.

    Args:
        traced: the network's graph.
        spec: its symmetries.
        states: the members' weights.
        data: calibration batches; labels are ignored.
        probes: the name of a group (or group + DUAL) -> the nodes where it is read, which are
            pooled.
        layouts: the same name -> the layout of the group.
        reference: the member whose cross moments with all others are wanted.
        full: whole covariances of each member; False gathers variances.
        every: the cross moments of all pairs of members.
        sampling: which positions are samples.
        numbers: the members' numbers, for messages; None: 0, 1, ...

    Raises:
        DataError: the data is empty, has the wrong dtype or cannot be run; or features are not
            finite.
    """
    device = next(iter(states[0].values())).device
    points: ReadPoints = {}
    moments: dict[str, Moments] = {}
    for name, probes_of_group in probes.items():
        layout = layouts[name]
        moments[name] = Moments(
            len(states),
            layout.width,
            reference,
            full=full,
            every=every,
            sites=len(probes_of_group),
            device=device,
        )
        for number, probe in enumerate(probes_of_group):
            point = ReadPoint(probe.node, layout, number=number)
            points.setdefault(probe.node, []).append((point, moments[name]))
    examples = accumulate(traced, spec, states, data, points, sampling)
    statistics = Statistics({name: m.reduced() for name, m in moments.items()}, examples)
    for name, group in statistics.groups.items():
        _check(name, group, layouts[name].group.size, numbers or range(len(states)))
    return statistics


def accumulate(
    traced: TracedNetwork,
    spec: SymmetrySpec,
    states: Sequence[Mapping[str, Tensor]],
    data: Data,
    points: ReadPoints,
    sampling: Sampling = ALL,
) -> int:
    """Add the features at all `points` to their moments, which are changed; count the examples.

    Sums of several processes are left to be joined (`Moments.reduced`); the examples are those of
    all processes.

    Raises:
        DataError: the data is empty, has the wrong dtype or cannot be run.
    """
    if not points:
        return 0
    device = next(iter(states[0].values())).device
    dtype = next(t.dtype for t in states[0].values() if t.is_floating_point())
    position = {node.name: k for k, node in enumerate(traced.graph.nodes)}
    last = max(points, key=position.__getitem__)
    examples = 0

    def add(node: str, values: list[Tensor]) -> None:
        for point, moments in points[node]:
            rows = [point.rows(value, spec) for value in values]
            moments.update(sampling.rows(rows, batch.size, batch.index), point.number)

    with raise_together():
        for item in track(batches(data, device, "calibration data"), "statistics"):
            batch = traced.counted(item)
            check_dtype(batch, dtype)
            traced.replay(
                states, batch.args, batch.kwargs, visit=add, nodes=list(points), until=last
            )
            examples += batch.size
    return sum(from_every_rank(examples))


def sampled(rows: list[Tensor], limit: int, seed: int) -> list[Tensor]:
    """The same `limit` rows of every member, drawn with replacement.

    All rows are returned if there are no more.
    """
    count = len(rows[0])
    if count <= limit:
        return rows
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randint(count, (limit,), generator=draw).sort().values.to(rows[0].device)
    return [r.index_select(0, chosen) for r in rows]


def _check(name: str, moments: Moments, width: int, numbers: Sequence[int]) -> None:
    """Refuse non-finite features, and too few samples for any match.

    Raises:
        DataError: as said.
    """
    for k, variance in zip(numbers, moments.variances, strict=True):
        if not math.isfinite(float(variance.sum())):
            raise DataError(
                f"Member {k} gives non-finite features in group {name} on the calibration data;"
                " check its weights and the data's scale."
            )
    check_least(name, width, moments)
