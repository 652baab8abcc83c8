"""Networks that differ in width alone: their groups correspond by name, and features of unequal
number are compared through the data.

Every member is traced and solved by itself. The same layers, groups and slots must be found in
each; only sizes may differ. Moments are problem with narrower features filled up with zeros, and
cut to size where a matcher looks at them. The maps are matrices (C_r, C_k), so that mapped members
have the reference's shapes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from onefold.alignment.checks import check_networks
from onefold.alignment.features import CroppedFeatures
from onefold.alignment.layout import Layout, layouts
from onefold.alignment.matchers import Match, Matcher, matchers
from onefold.alignment.moments import Moments
from onefold.alignment.probes import choose_probes
from onefold.alignment.problem import AlignmentProblem, check_reference
from onefold.alignment.results import GroupSolution, name_of
from onefold.alignment.statistics import TARGET_POSITIONS, ReadPoint, Statistics, sampled
from onefold.alignment.structure import check_movable, trace_on
from onefold.batches import Batch, Data, batches, check_dtype, check_reiterable, device_of, dtype_of
from onefold.distributed import from_every_rank, raise_together
from onefold.errors import AlignmentError, DataError, MembersError
from onefold.layers import Layer
from onefold.progress import track
from onefold.sources import on_disk
from onefold.symmetry import GroupMap, SymmetrySpec, TracedNetwork, solve
from onefold.symmetry.axes import Group, Probe, live_groups


def differ_in_width(models: Sequence[nn.Module]) -> bool:
    """Whether the same tensors are there in every network, of unequal shapes in some."""
    if on_disk(models):  # one architecture made them all
        return False
    shapes = [{name: tuple(t.shape) for name, t in model.state_dict().items()} for model in models]
    return all(own.keys() == shapes[0].keys() for own in shapes) and any(
        own != shapes[0] for own in shapes
    )


def build_problem_of_widths(
    models: Sequence[nn.Module],
    data: Data,
    *,
    reference: int,
    probe: str,
    max_positions: int | None,
    targets: bool,
    seed: int,
) -> AlignmentProblem:
    """As `build_problem`, for networks that differ in width alone.

    Raises:
        MembersError: they differ in more than width. AlignmentError: a group that differs takes no
            matrix. TraceError, DataError: as `build_problem`.
    """
    check_networks(models, shapes=False)
    check_reference(reference, len(models))
    data = check_reiterable(data, "calibration data")
    start = time.perf_counter()
    traced = [trace_on(model, data) for model in models]
    specs = [solve(own) for own in traced]
    for k, spec in enumerate(specs):
        _check_alike(specs[reference], spec, reference, k)
    seconds = {"trace": time.perf_counter() - start}
    start = time.perf_counter()
    own = specs[reference]
    check_movable(own, type(models[reference]).__name__)
    probes = {
        group.name: found for group in own.groups if (found := choose_probes(own, group, probe))
    }
    layers = tuple(
        layer
        for layer in own.layers
        if targets
        and not layer.shared
        and any(live_groups(own.nodes[layer.output][layer.output_axis]))
    )
    statistics = _collect(
        models, traced, specs, data, probes, layers, reference, max_positions, seed
    )
    seconds["statistics"] = time.perf_counter() - start
    folds = any(layer.norm is not None for layer in own.layers)
    return AlignmentProblem(
        own,
        len(models),
        reference,
        statistics,
        probes,
        layers,
        folds,
        False,
        seconds,
        tuple(m.state_dict() for m in models),
        seed,
        tuple(specs),
    )


def solve_widths(problem: AlignmentProblem, matcher: Matcher) -> dict[str, GroupSolution]:
    """Every group: by the matcher where widths differ or matrices can be written, else by
    permutation.

    Raises AlignmentError for another matcher.
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
            own = matcher if group.dense else matchers.get("permutation")()
            features, label = (
                CroppedFeatures(problem.statistics.groups[group.name], widths),
                name_of(own),
            )
            found = [
                _identity(group) if k == reference else own.match(features, k)
                for k in range(problem.members)
            ]
        scores = torch.stack([m.scores.cpu().double() for m in found])
        solved[group.name] = GroupSolution(
            tuple(m.map for m in found), scores, tuple(m.condition for m in found), label
        )
    return solved


def _check_alike(reference: SymmetrySpec, other: SymmetrySpec, r: int, k: int) -> None:
    """Raises MembersError where two networks differ in more than width, AlignmentError where a
    group that differs takes no matrix.
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
        if ours.size != theirs.size and (not ours.dense or layouts(reference)[ours.name].apart):
            why = (
                "has heads or other fibres"
                if ours.over
                else "takes no matrix, so that its units can only change places"
            )
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
    layers: Sequence[Layer],
    reference: int,
    max_positions: int | None,
    seed: int,
) -> Statistics:
    """Each member runs its own graph, batch by batch; the features of a batch wait until all have
    run.
    """
    device, dtype = device_of(models[0]), dtype_of(models[0])
    states = [model.state_dict() for model in models]
    groups: dict[str, Moments] = {}
    outputs: dict[str, Moments] = {}
    sites: list[tuple[list[ReadPoint], Moments]] = []
    for name, places in probes.items():
        sizes = [spec.group(name).size for spec in specs]
        groups[name] = Moments(len(models), max(sizes), reference, sites=len(places), device=device)
        for number, place in enumerate(places):
            sites.append(
                (
                    [
                        ReadPoint(place.node, Layout(spec.group(name)), number=number)
                        for spec in specs
                    ],
                    groups[name],
                )
            )
    for layer in layers:
        sizes = [spec.nodes[layer.output][layer.output_axis].size for spec in specs]
        outputs[layer.output] = Moments(len(models), max(sizes), None, device=device)
        sites.append(([ReadPoint(layer.output, layer=layer) for _ in specs], outputs[layer.output]))
    statistics = Statistics(groups, outputs)
    with raise_together():
        for found in track(batches(data, device, "calibration data"), "statistics"):
            batch = traced[0].counted(found)
            check_dtype(batch, dtype)
            rows = [
                _rows(
                    own,
                    state,
                    spec,
                    batch,
                    [(site[k], moments.width) for site, moments in sites],
                    max_positions,
                    seed,
                )
                for k, (own, state, spec) in enumerate(zip(traced, states, specs, strict=True))
            ]
            for number, (site, moments) in enumerate(sites):
                moments.update([own[number] for own in rows], site[0].number)
            statistics.examples += batch.size
    statistics.examples = sum(from_every_rank(statistics.examples))
    statistics.groups, statistics.layers = (
        {name: m.reduced() for name, m in own.items()} for own in (groups, outputs)
    )
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
    sites: Sequence[tuple[ReadPoint, int]],
    max_positions: int | None,
    seed: int,
) -> dict[int, Tensor]:
    """The features of one member and batch at every site, filled up with zeros to the width beside
    it.
    """
    found: dict[int, Tensor] = {}

    def read(node: str, values: list[Tensor]) -> None:
        for number, (site, width) in enumerate(sites):
            if site.node == node:
                rows = site.rows(values[0], spec)
                cap = (
                    max_positions
                    if site.layer is None
                    else min(max_positions or TARGET_POSITIONS, TARGET_POSITIONS)
                )
                if cap is not None:
                    rows = sampled([rows], cap * batch.size, seed + 7919 * batch.index)[0]
                found[number] = torch.nn.functional.pad(rows, (0, width - rows.shape[1]))

    traced.replay(
        [state], batch.args, batch.kwargs, visit=read, nodes=[site.node for site, _ in sites]
    )
    return found


def _identity(group: Group) -> Match:
    return Match(GroupMap.identity(group.size), torch.ones(group.size, dtype=torch.float64))
