"""Which units of all members the folded network shall have.

Side by side the members are one network of K times the width whose output is the ensemble's. To
fold them is to prune it to one width: of the K C units of a group, C stay. What a unit is worth is
what the layers that read it lose without it,

    E(S) = sum over readers r of  min_V mean_x | M_r^(1/2) (y_r - V x_r,S) |^2,    M_r = mean_x g_r
    g_r',    g_r = d(u' f) / d y_r,

where x_r are the units of all members as reader r sees them, y_r what the members' own layers make
of them, f the mean of their outputs and u of independent normal coordinates, so that E is the error
that reaches the outputs, to first order. Where the ensemble is a mean of probabilities q, g_r = d
log q_c / d y_r with a class c drawn from q, which makes M_r the Fisher information. The units that
stay are found by backward elimination (`elimination.py`). Then least squares makes the units from
what is left in the layer before. Pruning by the next layer's error: Luo, Wu & Lin 2017, "ThiNet"
(arXiv 1707.06342); of networks side by side: Stoica et al. 2024, "ZipIt!" (arXiv 2305.03053),
averages correlated units instead.

A unit under a kernel of several taps has one column of X for each. Where that would be more than
COLUMNS in all, it has as many as there is room for: the projections on the leading eigenvectors of
W_j M_r W_j', W_j being the member's own weights that read unit j.

Cost: a forward pass of each member, one more and a backward pass over a fourth of the examples (at
most SENSED), and the products X'X. Memory: of each reader (K C taps)^2 numbers, at most COLUMNS^2
or (K C)^2, whichever is more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from onefold.batches import Batch
from onefold.ensemble.pool import ClassPool
from onefold.errors import DataError
from onefold.fold.least_squares.elimination import Regression, keep
from onefold.fold.least_squares.output_layers import Read, any_output
from onefold.fold.least_squares.outputs import Calibration, SiteOutputs
from onefold.fold.least_squares.rows import Geometry, Sample, draw, geometry_of
from onefold.fold.least_squares.selection import Picks
from onefold.fold.least_squares.weights import effective
from onefold.inference import ANY
from onefold.layers import Layer
from onefold.progress import track
from onefold.symmetry import SymmetrySpec, TracedNetwork
from onefold.symmetry.axes import Group, Prod, Term, live_groups
from onefold.symmetry.maps import case_indices
from onefold.symmetry.probing import spread

COLUMNS = 1024
RIDGE = 1e-2
SENSED = 256  # examples that M is taken from, at most
_SEED = 15485863


@dataclass
class Reader:
    """A layer that reads units, and the sums over its rows. columns: of a tap, the units' channels,
    unit by unit; each: how many a unit has.
    """

    number: int
    layer: Layer
    geometry: Geometry
    group: str
    columns: Tensor
    each: int
    metric: Tensor | None = None  # M (K outputs, K outputs)
    basis: Tensor | None = None  # (K C, channels x taps of a unit, components)
    whole: bool = False  # whether the columns are all that the layer reads, in order
    n: int = 0
    shift: tuple[Tensor, Tensor] = (torch.zeros(()), torch.zeros(()))  # taken from x and y
    sums: dict[str, Tensor] = field(default_factory=dict)

    def take(self, value: Tensor, sample: Sample) -> Tensor:
        """(rows, C, channels x taps) of one member's units as this layer sees them."""
        rows = self.geometry.inputs(value, sample, 1)[0]
        taps = max(1, math.prod(self.geometry.kernel))
        rows = rows.reshape(len(rows), taps, -1)
        if not self.whole:
            rows = rows[:, :, self.columns]
        return rows.reshape(len(rows), taps, -1, self.each).permute(0, 2, 3, 1).flatten(2)

    def add(self, x: Tensor, y: Tensor) -> None:
        """x (rows, columns), y (rows, K outputs).

        Products are summed in the rows' precision: the ridge is far above its rounding, once both
        are near their means.
        """
        if not self.sums:
            self.shift = (x.mean(0), y.mean(0))
            self.sums = {
                "x": x.new_zeros(x.shape[1], dtype=torch.float64),
                "y": y.new_zeros(y.shape[1], dtype=torch.float64),
            }
            self.sums |= {
                "xx": x.new_zeros(x.shape[1], x.shape[1]),
                "xy": x.new_zeros(x.shape[1], y.shape[1]),
            }
        x, y = x - self.shift[0], y - self.shift[1]
        self.sums["x"] += x.sum(0, dtype=torch.float64)
        self.sums["y"] += y.sum(0, dtype=torch.float64)
        self.sums["xx"].addmm_(x.T, x)
        self.sums["xy"].addmm_(x.T, y)
        self.n += len(x)

    def regression(self, units: int) -> Regression:
        """Centred, in the metric."""
        assert self.metric is not None
        x, y = self.sums["x"] / self.n, self.sums["y"] / self.n
        cross = self.sums["xy"].double() / self.n - x[:, None] * y
        return Regression(
            self.sums["xx"].double() / self.n - x[:, None] * x,
            cross @ root(self.metric),
            len(x) // units,
        )


def choose_units(
    traced: TracedNetwork,
    spec: SymmetrySpec,
    states: Sequence[Mapping[str, Tensor]],
    calibration: Calibration,
    shares: Sequence[float],
    reference: int,
    solvable: Collection[str],
    pool: ClassPool | None = None,
    outputs: SiteOutputs | None = None,
    read: Read | None = None,
) -> dict[str, Picks]:
    """For each group of units that some layer reads, which member and which of its units fills each
    place.

    Units of the reference stay in place.

    solvable: the weights that will be solved. A group that others read too is left alone: they
    could not be made to fit. outputs: these read what they need as the members run here, so that
    they need not run again. read: the output that counts; None: any.

    Raises:
        DataError: a member puts out something that is not finite.
    """
    readers = find_readers(traced, spec, solvable)
    if not readers:
        return {}
    _sense(traced, spec, states, readers, calibration, shares, pool, read or any_output(ANY))
    _gather(traced, states, readers, calibration, outputs)
    found = {}
    for name in track(list(dict.fromkeys(reader.group for reader in readers)), "units"):
        group, own = spec.group(name), [reader for reader in readers if reader.group == name]
        units = keep(
            [reader.regression(len(states) * group.size) for reader in own],
            len(states) * group.size,
            group.size,
            RIDGE,
        )
        for reader in own:
            reader.sums.clear()
        found[name] = Picks.placed(units, group.size, reference)
    return found


def find_readers(
    traced: TracedNetwork, spec: SymmetrySpec, solvable: Collection[str]
) -> list[Reader]:
    """The layers that read whole units of a group that has no fibres, in graph order."""
    nodes = {node.name: node for node in traced.graph.nodes}
    groups = _apart(
        [group for group in spec.groups if _single(group, spec) and _served(group, solvable)], spec
    )
    readers: list[Reader] = []
    for layer in spec.layers:
        geometry = (
            geometry_of(layer, nodes[layer.node])
            if layer.groups == 1 and not layer.shared
            else None
        )
        axes = spec.nodes.get(layer.source)
        if geometry is None or axes is None:
            continue
        term = axes[-1 if layer.kind == "linear" else 1]
        for name in dict.fromkeys(live_groups(term)):
            if name in groups:
                places = spread(term, {name: torch.arange(groups[name].size)}, -1)
                columns = places.argsort(stable=True)[int((places < 0).sum()) :]
                each, whole = (
                    len(columns) // groups[name].size,
                    torch.equal(columns, torch.arange(len(places))),
                )
                readers.append(
                    Reader(len(readers), layer, geometry, name, columns, each, whole=whole)
                )
    return readers


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
    """The groups by name, without those that stand on one axis as a product with a wider one that
    is chosen from.

    Place (i, j) of a product is one member's if both i and j are; chosen apart from each other they
    need not be of one.
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
    return all(
        slot.tensor in solvable for slot in group.slots if slot.role in ("consumer", "other")
    )


def _sample(reader: Reader, calibration: Calibration, batch: int, shape: Sequence[int]) -> Sample:
    generator = torch.Generator().manual_seed(
        calibration.seed + _SEED * (reader.number + 1) + batch
    )
    per = max(1, calibration.rows // calibration.examples)
    return draw(
        shape,
        reader.layer.output_axis,
        reader.geometry.example,
        calibration.batches[batch].size,
        per,
        0,
        generator,
    )


def _sense(
    traced: TracedNetwork,
    spec: SymmetrySpec,
    states: Sequence[Mapping[str, Tensor]],
    readers: Sequence[Reader],
    calibration: Calibration,
    shares: Sequence[float],
    pool: ClassPool | None,
    read: Read,
) -> None:
    """Every reader's metric and basis: how its outputs, in all members, move the ensemble's logits."""
    seen, enough = 0, min(SENSED, calibration.examples // 4)
    for number, batch in enumerate(calibration.batches):
        if seen > 0 and seen >= enough:
            break
        seen += batch.size
        generator = torch.Generator().manual_seed(calibration.seed + number)
        slopes = _slopes(
            traced,
            states,
            readers,
            batch,
            read,
            partial(_directions, shares=shares, pool=pool, generator=generator),
        )
        for reader in readers:
            sample = _sample(reader, calibration, number, slopes[0][reader.layer.output].shape)
            g = torch.cat([sample.take(own[reader.layer.output]).double() for own in slopes], 1)
            reader.metric = g.T @ g if reader.metric is None else reader.metric + g.T @ g
    for reader in readers:
        assert reader.metric is not None
        size = len(states) * spec.group(reader.group).size
        taps = reader.each * max(1, math.prod(reader.geometry.kernel))
        reader.basis = (
            _basis(reader, states, max(1, COLUMNS // size))
            if taps > max(1, COLUMNS // size)
            else None
        )


def _directions(
    logits: Sequence[Tensor],
    shares: Sequence[float],
    pool: ClassPool | None,
    generator: torch.Generator,
) -> list[Tensor]:
    """How what is asked of the ensemble changes with each member's logits: the mean of logits along
    a normal direction, or log q_c for a drawn c.
    """
    if pool is None:
        u = torch.randn(logits[0].shape, generator=generator).to(logits[0])
        return [share * u for share in shares]
    weighed = torch.stack([pool.log_part(z.double(), k) for k, z in enumerate(logits)]).exp()
    total = weighed.sum(0)
    q = total / total.sum(-1, keepdim=True)
    classes = (
        torch.multinomial(q.flatten(0, -2).cpu(), 1, generator=generator)
        .to(q.device)
        .reshape(*q.shape[:-1], 1)
    )
    drawn = torch.zeros_like(q).scatter_(-1, classes, 1.0)
    parts = weighed / total.clamp_min(1e-30)  # of each member in every class
    found = []
    for k, (z, part) in enumerate(zip(logits, parts, strict=True)):
        p = (z.double() + pool.shifts[k].to(q)).softmax(-1)
        off = (drawn - q) * part
        found.append((off - off.sum(-1, keepdim=True) * p).to(z))
    return found


def _slopes(
    traced: TracedNetwork,
    states: Sequence[Mapping[str, Tensor]],
    readers: Sequence[Reader],
    batch: Batch,
    read: Read,
    directions: Callable[[list[Tensor]], list[Tensor]],
) -> list[dict[str, Tensor]]:
    """Of each member the gradient of the logits along a direction by the outputs of the layers that
    read. directions: of all members' logits.
    """
    values: dict[str, list[Tensor]] = {}

    def visit(node: str, found: list[Tensor]) -> list[Tensor]:
        values[node] = found
        return [value.clone() for value in found]  # an activation may write into what it is given

    learned = {name for name in traced.parameters if states[0][name].is_floating_point()}
    weights = [
        {name: t.detach().requires_grad_() if name in learned else t for name, t in state.items()}
        for state in states
    ]
    plan, inputs = traced.plan_for(batch.args, batch.kwargs)
    with torch.enable_grad():
        logits = [
            read(out)
            for out in plan.run(weights, inputs, visit, {reader.layer.output for reader in readers})
        ]
    if not all(bool(torch.isfinite(z).all()) for z in logits):
        raise DataError(
            f"A member puts out something that is not finite on {batch.describe()}; check its"
            " weights and the data's scale."
        )
    wanted = directions([z.detach() for z in logits])
    slopes = []
    for k, (z, direction) in enumerate(zip(logits, wanted, strict=True)):
        own = torch.autograd.grad(
            z,
            [found[k] for found in values.values()],
            direction,
            allow_unused=True,
            materialize_grads=True,
        )
        slopes.append(dict(zip(values, own, strict=True)))
    return slopes


def _basis(reader: Reader, states: Sequence[Mapping[str, Tensor]], components: int) -> Tensor:
    """The directions, among a unit's columns, along which the member's own weights move the logits
    most.
    """
    assert reader.metric is not None
    taps, bases = max(1, math.prod(reader.geometry.kernel)), []
    for k, state in enumerate(states):
        matrix = effective(state, reader.layer)[0][0]  # (taps x inputs, outputs)
        outputs = matrix.shape[1]
        own = (
            matrix.reshape(taps, -1, outputs)[:, reader.columns]
            .reshape(taps, -1, reader.each, outputs)
            .permute(1, 2, 0, 3)
            .flatten(1, 2)
        )
        block = reader.metric[k * outputs : (k + 1) * outputs, k * outputs : (k + 1) * outputs]
        bases.append(
            torch.linalg.eigh(own @ block @ own.transpose(1, 2)).eigenvectors[:, :, -components:]
        )
    return torch.cat(bases)


def _gather(
    traced: TracedNetwork,
    states: Sequence[Mapping[str, Tensor]],
    readers: Sequence[Reader],
    calibration: Calibration,
    outputs: SiteOutputs | None,
) -> None:
    """The sums of products, all members over one batch at a time."""
    visited = {
        node
        for reader in readers
        for node in (reader.layer.source, reader.layer.node, reader.layer.output)
    }
    visited |= set() if outputs is None else outputs.nodes

    def visitor(batch: int) -> Callable[[str, list[Tensor]], None]:
        read: dict[str, list[Tensor]] = {}
        units: dict[int, Tensor] = {}
        samples: dict[int, Sample] = {}

        def visit(node: str, values: list[Tensor]) -> None:
            if node in sources:
                read[node] = values
            for reader in readers:
                layer = reader.layer
                if (
                    node == layer.node
                ):  # not before: the value may have been written to since it was made
                    sample = samples[reader.number] = _sample(
                        reader, calibration, batch, values[0].shape
                    )
                    units[reader.number] = torch.cat(
                        [reader.take(v, sample) for v in read[layer.source]], 1
                    )
                if node == layer.output:
                    y = torch.cat([samples[reader.number].take(v) for v in values], 1)
                    if not bool(torch.isfinite(y.sum())):
                        raise DataError(
                            f"A member gives non-finite values at {layer.weight} on the calibration"
                            " data; check the data's scale."
                        )
                    x = units.pop(reader.number)
                    if reader.basis is not None:
                        x = torch.einsum("nuc,ucr->nur", x, reader.basis.to(x))
                    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
                    reader.add(x.flatten(1).to(wide), y.to(wide))
            if outputs is not None:
                outputs.read(node, batch, dict(enumerate(values)))

        return visit

    sources = {reader.layer.source for reader in readers}
    last = max(visited, key={node.name: k for k, node in enumerate(traced.graph.nodes)}.__getitem__)
    for number, batch in enumerate(track(calibration.batches, "units that layers read")):
        traced.replay(
            states, batch.args, batch.kwargs, visit=visitor(number), nodes=list(visited), until=last
        )


def root(metric: Tensor) -> Tensor:
    """A square root R of a positive semidefinite matrix, R R' = M."""
    values, vectors = torch.linalg.eigh(metric)
    found: Tensor = vectors * values.clamp_min(0.0).sqrt()
    return found
