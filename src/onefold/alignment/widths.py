"""Alignment of networks that differ in width alone.

Their groups correspond by name, and features of unequal number are compared through the data. Every
member is traced and solved by itself. The same layers, groups and slots must be found in each; only
sizes may differ. Moments are gathered with narrower features padded with zeros, and are cut to size
when a matcher reads them. The maps are matrices (C_r, C_k), so that mapped members have the
reference's shapes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from onefold.alignment.checks import check_networks
from onefold.alignment.features import CroppedFeatures
from onefold.alignment.layout import Layout, layout_of
from onefold.alignment.matchers import Match, Matcher, feature_matchers
from onefold.alignment.moments import Moments
from onefold.alignment.probes import choose_probes
from onefold.alignment.problem import AlignmentProblem, Reading, check_reference
from onefold.alignment.results import GroupSolution, name_of
from onefold.alignment.statistics import ReadPoint, Sampling, Statistics
from onefold.alignment.structure import check_movable, trace_on
from onefold.batches import Batch, Data, batches, check_reiterable, device_of, dtype_of
from onefold.distributed import from_every_rank, raise_together
from onefold.errors import AlignmentError, DataError, MembersError
from onefold.forward import check_dtype
from onefold.progress import track
from onefold.sources import on_disk
from onefold.symmetry import GroupMap, SymmetrySpec, TracedNetwork, solve
from onefold.symmetry.axes import Group, Probe


def differ_in_width(models: Sequence[nn.Module]) -> bool:
    """Whether all networks have the same tensors, in unequal shapes in some."""
    if on_disk(models):  # one architecture made them all
        return False
    shapes = [{name: tuple(t.shape) for name, t in model.state_dict().items()} for model in models]
    same_names = all(shape.keys() == shapes[0].keys() for shape in shapes)
    return same_names and any(shape != shapes[0] for shape in shapes)


def build_problem_of_widths(
    models: Sequence[nn.Module], data: Data, reading: Reading, *, reference: int
) -> AlignmentProblem:
    """`build_problem` for networks that differ in width alone.

    Raises:
        MembersError: they differ in more than width.
        AlignmentError: a group that differs takes no matrix.
        TraceError, DataError: as `build_problem`.
    """
    check_networks(models, shapes=False)
    check_reference(reference, len(models))
    data = check_reiterable(data, "calibration data")
    start = time.perf_counter()
    traced = [trace_on(model, data) for model in models]
    specs = [solve(graph) for graph in traced]
    for k, spec in enumerate(specs):
        _check_alike(specs[reference], spec, reference, k)
    seconds = {"trace": time.perf_counter() - start}
    start = time.perf_counter()
    spec = specs[reference]
    check_movable(spec, type(models[reference]).__name__)
    probes = {
        group.name: chosen
        for group in spec.groups
        if (chosen := choose_probes(spec, group, reading.probe))
    }
    statistics = _collect(models, traced, specs, data, probes, reference, reading)
    seconds["statistics"] = time.perf_counter() - start
    return AlignmentProblem(
        spec=spec,
        members=len(models),
        reference=reference,
        statistics=statistics,
        reading=reading,
        probes=probes,
        folds_norms=any(layer.norm is not None for layer in spec.layers),
        seconds=seconds,
        states=tuple(model.state_dict() for model in models),
        specs=tuple(specs),
    )


def solve_widths(problem: AlignmentProblem, matcher: Matcher) -> dict[str, GroupSolution]:
    """Every group, by the matcher if it takes matrices, else by permutation.

    Raises:
        AlignmentError: the matcher maps between equal widths only, or a group of unequal widths
            cannot be read.
    """
    specs, reference = problem.specs, problem.reference
    assert specs is not None
    assert reference is not None
    if not matcher.widths:
        raise AlignmentError(
            f"The matcher '{name_of(matcher)}' maps between equal widths only; use 'transport'."
        )
    solved = {}
    for group in problem.spec.groups:
        widths = [spec.group(group.name).size for spec in specs]
        if group.name not in problem.statistics.groups:
            if len(set(widths)) > 1:
                raise AlignmentError(
                    f"Group {group.name} has {widths} features, but no node shows them alone, so"
                    " they cannot be compared."
                )
            found, label = [_identity(group) for _ in specs], "identity"
        else:
            serving = matcher if group.dense else feature_matchers.get("permutation")()
            label = name_of(serving)
            features = CroppedFeatures(problem.statistics.groups[group.name], widths)
            found = [
                _identity(group) if k == reference else serving.match(features, k)
                for k in range(problem.members)
            ]
        scores = torch.stack([m.scores.cpu().double() for m in found])
        solved[group.name] = GroupSolution(
            tuple(m.map for m in found), scores, tuple(m.condition for m in found), label
        )
    return solved


def _check_alike(reference: SymmetrySpec, other: SymmetrySpec, r: int, k: int) -> None:
    """Refuse two networks, members r and k, that cannot be compared.

    Raises:
        MembersError: they differ in more than width.
        AlignmentError: a group whose widths differ takes no matrix.
    """

    def structure(spec: SymmetrySpec) -> object:
        groups = [
            (group.name, group.slots, group.probes, group.maps, group.over) for group in spec.groups
        ]
        return groups, spec.layers, spec.norms, spec.axes.keys(), spec.nodes.keys()

    if structure(reference) != structure(other):
        raise MembersError(
            f"Members {r} and {k} differ in more than width; only networks with the same layers in"
            " the same places can be folded."
        )
    for ours, theirs in zip(reference.groups, other.groups, strict=True):
        if ours.size != theirs.size and (not ours.dense or layout_of(reference, ours).apart):
            why = "takes no matrix, so that its units can only be permuted"
            if ours.over:
                why = "has heads or other fibres"
            raise AlignmentError(
                f"Group {ours.name} has {ours.size} features in member {r} but {theirs.size} in"
                f" member {k}, and it {why}."
            )


def _collect(
    models: Sequence[nn.Module],
    traced: Sequence[TracedNetwork],
    specs: Sequence[SymmetrySpec],
    data: Data,
    probes: dict[str, tuple[Probe, ...]],
    reference: int,
    reading: Reading,
) -> Statistics:
    """The moments of all members, of which each runs its own graph.

    The features of a batch are added once all members have run on it.
    """
    device, dtype = device_of(models[0]), dtype_of(models[0])
    states = [model.state_dict() for model in models]
    groups: dict[str, Moments] = {}
    sites: list[tuple[list[ReadPoint], Moments]] = []  # of one group: a point for each member
    for name, probes_of_group in probes.items():
        widest = max(spec.group(name).size for spec in specs)
        count = len(probes_of_group)
        groups[name] = Moments(len(models), widest, reference, sites=count, device=device)
        for number, probe in enumerate(probes_of_group):
            points = [
                ReadPoint(probe.node, Layout(spec.group(name)), number=number) for spec in specs
            ]
            sites.append((points, groups[name]))
    sampling = Sampling(reading.positions, reading.seed)
    statistics = Statistics(groups)
    with raise_together():
        for item in track(batches(data, device, "calibration data"), "statistics"):
            batch = traced[0].counted(item)
            check_dtype(batch, dtype)
            rows = [
                _rows(
                    graph,
                    state,
                    spec,
                    batch,
                    [(points[k], moments.width) for points, moments in sites],
                    sampling,
                )
                for k, (graph, state, spec) in enumerate(zip(traced, states, specs, strict=True))
            ]
            for number, (points, moments) in enumerate(sites):
                moments.update([member[number] for member in rows], points[0].number)
            statistics.examples += batch.size
    statistics.examples = sum(from_every_rank(statistics.examples))
    statistics.groups = {name: moments.reduced() for name, moments in groups.items()}
    for name, moments in statistics.groups.items():
        for k, variance in enumerate(moments.variances):
            if not bool(variance.sum().isfinite()):
                raise DataError(
                    f"Member {k} gives non-finite features in group {name} on the calibration data;"
                    " check its weights and the data's scale."
                )
    return statistics


def _rows(
    traced: TracedNetwork,
    state: Mapping[str, Tensor],
    spec: SymmetrySpec,
    batch: Batch,
    points: Sequence[tuple[ReadPoint, int]],
    sampling: Sampling,
) -> dict[int, Tensor]:
    """The features of one member at every point, padded with zeros to the width of the point."""
    features: dict[int, Tensor] = {}

    def read(node: str, values: list[Tensor]) -> None:
        for number, (point, width) in enumerate(points):
            if point.node == node:
                rows = sampling.rows([point.rows(values[0], spec)], batch.size, batch.index)[0]
                features[number] = torch.nn.functional.pad(rows, (0, width - rows.shape[1]))

    nodes = [point.node for point, _ in points]
    traced.replay([state], batch.args, batch.kwargs, visit=read, nodes=nodes)
    return features


def _identity(group: Group) -> Match:
    return Match(GroupMap.identity(group.size), torch.ones(group.size, dtype=torch.float64))
