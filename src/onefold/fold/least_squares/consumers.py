"""Consumers: the layers that read units, and the normal equations of their rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from onefold.errors import DataError
from onefold.fold.least_squares.elimination import Regression
from onefold.fold.least_squares.outputs import Calibration, SiteOutputs
from onefold.fold.least_squares.rows import Geometry, Sample, draw, geometry_of
from onefold.layers import Layer
from onefold.progress import track
from onefold.symmetry import SymmetrySpec, TracedNetwork
from onefold.symmetry.axes import Group, Prod, Term, live_groups
from onefold.symmetry.exporting import shape_of
from onefold.symmetry.maps import case_indices
from onefold.symmetry.probing import spread

_SEED = 15485863
NULL = 1e-13  # an eigenvalue of a metric below this share of the largest is rounding


@dataclass
class Consumer:
    """A layer that reads units, and its accumulated normal equations.

    K is the number of members, C that of the group's units.

    Attributes:
        number: of the consumer, which seeds its sample.
        layer: the layer.
        geometry: how it reads its input.
        group: the group of the units.
        columns: input channels that belong to units, ordered by unit (within one kernel tap).
        channels_per_unit: how many of them each unit has.
        metric: M (K outputs, K outputs), see `units.py`; None before it is measured.
        slopes: the gradients g (rows, K outputs) that M is the sum of products of, if they are
            fewer than its columns; None otherwise, or before they are measured.
        basis: directions (K C, channels x taps of a unit, components) that columns are projected
            on; None for all columns.
        whole: whether the columns are all that the layer reads, in order.
        positions: of the layer's output in an example of the trace.
        sensed: the number of rows that the metric was taken from.
        n: the number of rows.
        shift: what was taken from x and from y before the products.
        sums: "x", "y" (float64), "xx" and "xy" (the rows' dtype).
    """

    number: int
    layer: Layer
    geometry: Geometry
    group: str
    columns: Tensor
    channels_per_unit: int
    metric: Tensor | None = None  # M (K outputs, K outputs)
    slopes: Tensor | None = None  # g (rows, K outputs)
    basis: Tensor | None = None  # (K C, channels x taps of a unit, components)
    whole: bool = False  # whether the columns are all that the layer reads, in order
    positions: float = 1.0
    sensed: int = 0
    n: int = 0
    shift: tuple[Tensor, Tensor] = (torch.zeros(()), torch.zeros(()))  # taken from x and y
    sums: dict[str, Tensor] = field(default_factory=dict)

    def take(self, value: Tensor, sample: Sample) -> Tensor:
        """(rows, C, channels x taps) of one member's units as this layer reads them."""
        rows = self.geometry.inputs(value, sample, 1)[0]
        taps = max(1, math.prod(self.geometry.kernel))
        rows = rows.reshape(len(rows), taps, -1)
        if not self.whole:
            rows = rows[:, :, self.columns]
        return (
            rows.reshape(len(rows), taps, -1, self.channels_per_unit).permute(0, 2, 3, 1).flatten(2)
        )

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add rows x (rows, columns) and y (rows, K outputs).

        Products are summed in the rows' precision: the ridge is far above its rounding, once both
        are near their means.
        """
        if not self.sums:
            self.shift = (x.mean(0), y.mean(0))
            self.sums = {
                "x": x.new_zeros(x.shape[1], dtype=torch.float64),
                "y": y.new_zeros(y.shape[1], dtype=torch.float64),
                "xx": x.new_zeros(x.shape[1], x.shape[1]),
                "xy": x.new_zeros(x.shape[1], y.shape[1]),
            }
        x, y = x - self.shift[0], y - self.shift[1]
        self.sums["x"] += x.sum(0, dtype=torch.float64)
        self.sums["y"] += y.sum(0, dtype=torch.float64)
        self.sums["xx"].addmm_(x.T, x)
        self.sums["xy"].addmm_(x.T, y)
        self.n += len(x)

    def regression(self, units: int, per_example: bool = False) -> Regression:
        """The centred regression in the metric.

        Args:
            units: K C, the number of units.
            per_example: scale errors to those of one example at the outputs, over all positions,
                so that layers of unlike sizes can be compared.
        """
        assert self.metric is not None
        scale = math.sqrt(self.positions / max(1, self.sensed)) if per_example else 1.0
        x, y = self.sums["x"] / self.n, self.sums["y"] / self.n
        cross = self.sums["xy"].double() / self.n - x[:, None] * y
        return Regression(
            self.sums["xx"].double() / self.n - x[:, None] * x,
            cross @ (root(self.metric) if self.slopes is None else self.slopes.T) * scale,
            len(x) // units,
        )


def root(metric: Tensor) -> Tensor:
    """A square root R of a positive semidefinite matrix, R R' = M.

    It has no more columns than M has rank, up to rounding: every column is paid for in the
    elimination of units.
    """
    values, vectors = torch.linalg.eigh(metric)
    kept = values > NULL * values.max()
    found: Tensor = vectors[:, kept] * values[kept].sqrt()
    return found


def find_consumers(
    traced: TracedNetwork, spec: SymmetrySpec, solvable: Collection[str]
) -> list[Consumer]:
    """The layers that read whole units of a group without fibres, in graph order.

    A group is left out if a weight outside `solvable` reads it too, as that weight could not be
    refitted.
    """
    nodes = {node.name: node for node in traced.graph.nodes}
    groups = _apart(
        [group for group in spec.groups if _single(group, spec) and _served(group, solvable)], spec
    )
    consumers: list[Consumer] = []
    for layer in spec.layers:
        if layer.groups != 1 or layer.shared:
            continue
        geometry = geometry_of(layer, nodes[layer.node])
        axes = spec.nodes.get(layer.source)
        if geometry is None or axes is None:
            continue
        term = axes[-1 if layer.kind == "linear" else 1]
        for name in dict.fromkeys(live_groups(term)):
            if name not in groups:
                continue
            size = groups[name].size
            units = spread(term, {name: torch.arange(size)}, -1)
            columns = units.argsort(stable=True)[int((units < 0).sum()) :]
            whole = torch.equal(columns, torch.arange(len(units)))
            per_unit = len(columns) // size
            consumers.append(
                Consumer(
                    len(consumers),
                    layer,
                    geometry,
                    name,
                    columns,
                    per_unit,
                    whole=whole,
                    positions=_positions(nodes[layer.output], layer, geometry),
                )
            )
    return consumers


def _positions(node: fx.Node, layer: Layer, geometry: Geometry) -> float:
    """The number of positions of a layer's output in one example of the trace."""
    shape = shape_of(node.meta["val"])
    return math.prod(shape) / shape[layer.output_axis] / shape[geometry.example]


def _single(group: Group, spec: SymmetrySpec) -> bool:
    """Whether the group's units are coordinates that can be taken from one member each."""
    indexed = {name for other in spec.groups for name in other.over}
    cases = any(
        group.name in live_groups(term) and case_indices(term)
        for axes in (*spec.axes.values(), *spec.nodes.values())
        for term in axes
    )
    return (
        "permutation" in group.maps and not group.over and group.name not in indexed and not cases
    )


def _apart(groups: Sequence[Group], spec: SymmetrySpec) -> dict[str, Group]:
    """The groups by name, without those in a product with a wider group that is chosen from.

    Place (i, j) of a product belongs to one member if both i and j do. If they are chosen
    separately, they need not belong to the same one.
    """
    met = {
        frozenset(names)
        for axes in (*spec.axes.values(), *spec.nodes.values())
        for term in axes
        for names in _products(term)
    }
    chosen: dict[str, Group] = {}
    for group in sorted(groups, key=lambda group: -group.size):
        if not any(group.name in names and not names.isdisjoint(chosen) for names in met):
            chosen[group.name] = group
    return {group.name: group for group in groups if group.name in chosen}


def _products(term: Term) -> Iterator[set[str]]:
    """The names of the groups of every product in the term."""
    parts = getattr(term, "parts", ())
    if isinstance(term, Prod):
        yield set(live_groups(term))
    for part in parts:
        yield from _products(part)


def _served(group: Group, solvable: Collection[str]) -> bool:
    """Whether all weights that read the group are solved."""
    return all(
        slot.tensor in solvable for slot in group.slots if slot.role in ("consumer", "other")
    )


def sample_of(
    consumer: Consumer, calibration: Calibration, batch: int, shape: Sequence[int]
) -> Sample:
    """Sampled positions of a consumer's output in one batch."""
    generator = torch.Generator().manual_seed(
        calibration.seed + _SEED * (consumer.number + 1) + batch
    )
    per = max(1, calibration.rows // calibration.examples)
    return draw(
        shape,
        consumer.layer.output_axis,
        consumer.geometry.example,
        calibration.batches[batch].size,
        per,
        0,
        generator,
    )


def gather_products(
    traced: TracedNetwork,
    states: Sequence[Mapping[str, Tensor]],
    consumers: Sequence[Consumer],
    calibration: Calibration,
    outputs: SiteOutputs | None,
) -> None:
    """Add up every consumer's products, with all members over one batch at a time.

    Args:
        traced: the traced network.
        states: the members' state dicts.
        consumers: their sums are filled, in place.
        calibration: the batches and the sampled rows.
        outputs: records what it needs as the members run here, so that they need not run again;
            None for nothing.

    Raises:
        DataError: a member gives values that are not finite.
    """
    visited = {
        node
        for consumer in consumers
        for node in (consumer.layer.source, consumer.layer.node, consumer.layer.output)
    }
    visited |= set() if outputs is None else outputs.nodes

    def visitor(batch: int) -> Callable[[str, list[Tensor]], None]:
        read: dict[str, list[Tensor]] = {}
        units: dict[int, Tensor] = {}
        samples: dict[int, Sample] = {}

        def visit(node: str, values: list[Tensor]) -> None:
            if node in sources:
                read[node] = values
            for consumer in consumers:
                layer = consumer.layer
                # Not at the source: its value may be written to before this layer reads it.
                if node == layer.node:
                    sample = samples[consumer.number] = sample_of(
                        consumer, calibration, batch, values[0].shape
                    )
                    units[consumer.number] = torch.cat(
                        [consumer.take(v, sample) for v in read[layer.source]], 1
                    )
                if node == layer.output:
                    y = torch.cat([samples[consumer.number].take(v) for v in values], 1)
                    if not bool(torch.isfinite(y.sum())):
                        raise DataError(
                            f"A member gives non-finite values at {layer.weight} on the calibration"
                            " data; check the data's scale."
                        )
                    x = units.pop(consumer.number)
                    if consumer.basis is not None:
                        x = torch.einsum("nuc,ucr->nur", x, consumer.basis.to(x))
                    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
                    consumer.add(x.flatten(1).to(wide), y.to(wide))
            if outputs is not None:
                outputs.read(node, batch, dict(enumerate(values)))

        return visit

    sources = {consumer.layer.source for consumer in consumers}
    last = max(visited, key={node.name: k for k, node in enumerate(traced.graph.nodes)}.__getitem__)
    for number, batch in enumerate(track(calibration.batches, "units that layers read")):
        traced.replay(
            states, batch.args, batch.kwargs, visit=visitor(number), nodes=list(visited), until=last
        )
