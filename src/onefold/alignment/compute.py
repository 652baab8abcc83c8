"""Compute an alignment: trace, collect moments, solve every group for every member."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from onefold.alignment.alignment import Alignment, Target
from onefold.alignment.collect import choose_probes, collect
from onefold.alignment.matchers import Match, Matcher, matchers
from onefold.alignment.members import check_networks
from onefold.alignment.moments import Moments
from onefold.alignment.structure import trace_on
from onefold.batches import Data, reusable
from onefold.batchnorm import fold_norms
from onefold.errors import AlignmentError, RecipeError
from onefold.layers import Layer
from onefold.symmetry import GroupMap, SymmetrySpec, TracedNetwork, map_features, solve
from onefold.symmetry.spec import Group, live_groups


def align(
    models: Sequence[nn.Module],
    data: Data,
    *,
    method: str | Matcher = "cca",
    spec: SymmetrySpec | None = None,
    reference: int = 0,
    probe: str = "auto",
    regularisation: float | None = None,
    prior: float | None = None,
    max_positions: int | None = None,
    targets: bool = True,
    seed: int = 0,
    traced: TracedNetwork | None = None,
) -> Alignment:
    """Find the maps that bring every network's features onto the reference's, from unlabelled data.

    Args:
        models: K >= 2 networks of one class and one set of shapes, on one device. They are not modified.
        data: batches as `onefold.batches` describes; labels are ignored. Every batch is seen once.
        method: name of a matcher (`onefold methods matcher` lists them), or a matcher with its settings.
        spec: what `find_symmetries` found for this architecture; found here where it is None.
        reference: index of the network that keeps its basis.
        probe: where features are read: "pre" or "post" activation, or "auto" for the matcher's own choice.
        regularisation: the ridge of matchers that have one, relative to the mean variance; None for the matcher's default.
        prior: how strongly dense matchers hold on to the best permutation, relative to the mean variance; None for their default.
        max_positions: at most so many positions of each example serve as samples; None for all.
        targets: also measure what repair needs, the mean and deviation of every layer's output.
        seed: of the draw of positions.
        traced: reuse what `onefold.symmetry.trace` returned for a network of this architecture.

    Raises:
        MembersError: fewer than two networks, or they differ in class, keys or shapes.
        WeightsError: a weight is not finite or not floating-point.
        TraceError: torch.export cannot trace the network.
        DataError: the data is empty, of the wrong dtype, cannot be run, or is too little for the widest group.
        RecipeError, AlignmentError: an unknown or unusable setting.
    """
    matcher = _matcher(method, {"regularisation": regularisation, "prior": prior})
    check_networks(models)
    if not 0 <= reference < len(models):
        raise AlignmentError(f"The reference is {reference}, but the members are numbered 0 to {len(models) - 1}.")
    if probe not in ("auto", "pre", "post"):
        raise RecipeError(f"The probe is '{probe}'; choose 'auto', 'pre' or 'post'.")
    if max_positions is not None and max_positions < 1:
        raise RecipeError(f"max_positions is {max_positions}; it must be at least 1.")
    seconds: dict[str, float] = {}
    data = reusable(data, "calibration data")
    start = time.perf_counter()
    if traced is None:
        traced = trace_on(models[0], data)
    if spec is None:
        spec = solve(traced)
    elif spec.fingerprint != traced.fingerprint:
        raise AlignmentError("The symmetry spec was found for another architecture than these networks; run find_symmetries on one of them.")
    seconds["trace"] = time.perf_counter() - start

    start = time.perf_counter()
    folds = any(layer.norm is not None for layer in spec.layers)
    states = [_prepared(model.state_dict(), spec, folds) for model in models]
    indices = {name for group in spec.groups for name in group.over}  # their values number the fibres of other groups, which stay in order
    kind = matcher.probe if probe == "auto" else probe
    chosen = {g.name: p for g in spec.groups if g.name not in indices and (p := choose_probes(spec, g, kind))}
    wanted = [layer for layer in spec.layers if targets and not layer.shared and _is_live(spec, layer)]
    statistics = collect(
        traced, spec, states, data, probes=chosen, reference=reference, full=matcher.covariances,
        layers=wanted, max_positions=max_positions, seed=seed,
    )  # fmt: skip
    seconds["statistics"] = time.perf_counter() - start

    start = time.perf_counter()
    solved = {group.name: _solve_group(group, matcher, statistics.groups.get(group.name), len(models), reference) for group in spec.groups}
    maps = {name: s.maps for name, s in solved.items()}
    aims = {layer.output: _target(spec, layer, statistics.layers[layer.output], maps) for layer in wanted}
    seconds["solve"] = time.perf_counter() - start
    return Alignment(
        method=next(entry.name for entry in matchers if entry.value is type(matcher)),
        spec=spec,
        reference=reference,
        members=len(models),
        maps=maps,
        scores={name: s.scores for name, s in solved.items()},
        conditions={name: s.conditions for name, s in solved.items()},
        matchers={name: s.matcher for name, s in solved.items()},
        fallbacks={name: s.fallback for name, s in solved.items() if s.fallback},
        targets=aims,
        probes={name: tuple(f"{p.node} ({p.kind})" for p in places) for name, places in chosen.items()},
        folds_norms=folds,
        examples=statistics.examples,
        numbers=statistics.numbers,
        seconds=seconds,
    )


@dataclasses.dataclass(frozen=True)
class _Solved:
    maps: tuple[GroupMap, ...]
    scores: Tensor
    conditions: tuple[float, ...]
    matcher: str
    fallback: str = ""


def _solve_group(group: Group, matcher: Matcher, moments: Moments | None, members: int, reference: int) -> _Solved:
    """All members' maps of one group. A group that cannot be read stays in place; one that takes no dense map gets a permutation."""
    identity = GroupMap.identity(group.size)
    ones = torch.ones(group.size, dtype=torch.float64)
    name, fallback = next(entry.name for entry in matchers if entry.value is type(matcher)), ""
    if moments is None:
        reason = "numbers the fibres of other groups" if not group.probes else "no node shows its features"
        return _Solved((identity,) * members, torch.ones(members, group.size, dtype=torch.float64), (1.0,) * members, "identity", reason)
    if matcher.dense and not group.dense:
        matcher, name, fallback = matchers.get("permutation")(), "permutation", "its tensors take no dense map"
    found = [Match(identity, ones) if k == reference else matcher.match(moments, k) for k in range(members)]
    return _Solved(tuple(m.map for m in found), torch.stack([m.scores.cpu() for m in found]), tuple(m.condition for m in found), name, fallback)


def _matcher(method: str | Matcher, settings: Mapping[str, float | None]) -> Matcher:
    """The matcher with the settings that are not None. Raises RecipeError for a setting that it has not got."""
    given = {name: value for name, value in settings.items() if value is not None}
    kind = type(method) if isinstance(method, Matcher) else matchers.get(method)
    for name in given:
        if name not in {f.name for f in dataclasses.fields(kind)}:
            having = [e.name for e in matchers if name in {f.name for f in dataclasses.fields(e.value)}]
            known = next(e.name for e in matchers if e.value is kind)
            raise RecipeError(f"The matcher '{known}' takes no {name}; leave it out, or use {' or '.join(having)}.")
    return dataclasses.replace(method, **given) if isinstance(method, Matcher) else kind(**given)


def _prepared(state: Mapping[str, Tensor], spec: SymmetrySpec, folds: bool) -> dict[str, Tensor]:
    """The state with its norms folded, and convolution weights in the layout that makes features cheap to read as rows."""
    state = fold_norms(state, spec.layers) if folds else dict(state)
    return {k: v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v for k, v in state.items()}


def _is_live(spec: SymmetrySpec, layer: Layer) -> bool:
    return any(True for _ in live_groups(spec.nodes[layer.output][layer.output_axis]))


def _target(spec: SymmetrySpec, layer: Layer, moments: Moments, maps: Mapping[str, tuple[GroupMap, ...]]) -> Target:
    """The average over the members of the mean and deviation of their mapped layer outputs: T m_k and diag(T S_kk T')^(1/2)."""
    axis = spec.nodes[layer.output][layer.output_axis]
    means, deviations = [], []
    for k in range(moments.members):
        own = {name: m[k] for name, m in maps.items()}
        means.append(map_features(moments.means[k], (axis,), spec, own))
        if moments.full:
            variance = map_features(moments.covariance(k), (axis, axis), spec, own).diagonal()
        else:
            variance = map_features(moments.variances[k], (axis,), spec, own)
        deviations.append(variance.clamp_min(0.0).sqrt())
    # Sorted before they are summed, so that the bits do not depend on the members' order.
    return Target(torch.stack(means).sort(0).values.mean(0), torch.stack(deviations).sort(0).values.mean(0))
