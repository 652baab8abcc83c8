"""Compute an alignment: gather the features' moments, then solve every group for every member."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from onefold.alignment.alignment import Alignment, Target
from onefold.alignment.collect import Statistics
from onefold.alignment.gather import Gathered, check_reference, gather
from onefold.alignment.matchers import JointMatcher, Matcher, StateMatcher, matchers
from onefold.alignment.matching import maps_of_output, solve_groups
from onefold.alignment.members import check_networks
from onefold.alignment.moments import Moments
from onefold.alignment.solved import name_of
from onefold.alignment.widths import differ_in_width, gather_widths
from onefold.batches import Data
from onefold.errors import AlignmentError, RecipeError
from onefold.layers import Layer
from onefold.symmetry import GroupMap, SymmetrySpec, TracedNetwork, map_features
from onefold.symmetry.spec import Slot, live_groups


def align(
    models: Sequence[nn.Module],
    data: Data | None = None,
    *,
    method: str | Matcher = "cca",
    spec: SymmetrySpec | None = None,
    reference: int | None = 0,
    probe: str = "auto",
    regularisation: float | None = None,
    prior: float | None = None,
    max_positions: int | None = None,
    targets: bool = True,
    seed: int = 0,
    traced: TracedNetwork | None = None,
) -> Alignment:
    """Find the maps that bring every network's features onto the reference's, from unlabelled data or from the weights alone.

    Args:
        models: K >= 2 networks of one class and one set of shapes, on one device. They are not modified. "transport" also takes networks
            that differ in width alone; they become as wide as the reference.
        data: batches as `onefold.batches` describes; labels are ignored. Every batch is seen once. Only method="weights" works without, given a
            `spec`; there are no targets for repair then.
        method: name of a matcher (`onefold methods matcher` lists them), or a matcher with its settings.
        spec: what `find_symmetries` found for this architecture; found here where it is None.
        reference: index of the network that keeps its basis. None: all are mapped to a basis they agree on, whatever their order; groups of
            heads then take the basis of the member that agrees most with the others.
        probe: where features are read: "pre" or "post" activation, or "auto" for the matcher's own choice.
        regularisation: the ridge of matchers that have one, relative to the mean variance; None for the matcher's default.
        prior: how strongly dense matchers hold on to the best permutation, relative to the mean variance; None for their default.
        max_positions: at most so many positions of each example serve as samples; None for all.
        targets: also measure what repair needs, the mean and deviation of every layer's output.
        seed: of the draw of positions, and of whatever else is random in a matcher.
        traced: reuse what `onefold.symmetry.trace` returned for a network of this architecture.

    Raises:
        MembersError: fewer than two networks, or they differ in class, keys or shapes.
        WeightsError: a weight is not finite or not floating-point.
        TraceError: torch.export cannot trace the network.
        DataError: the data is empty, of the wrong dtype, cannot be run, or is too little for the widest group.
        RecipeError, AlignmentError: an unknown or unusable setting.
    """
    matcher = _matcher(method, {"regularisation": regularisation, "prior": prior})
    if probe not in ("auto", "pre", "post"):
        raise RecipeError(f"The probe is '{probe}'; choose 'auto', 'pre' or 'post'.")
    if data is None:
        return solve_gathered(_weights_alone(models, matcher, spec, reference, seed), matcher)
    if matcher.widths and differ_in_width(models):
        if reference is None:
            raise AlignmentError("Networks of unequal widths need a reference, whose width they take; pass its index.")
        where = matcher.probe if probe == "auto" else probe
        gathered = gather_widths(models, data, reference=reference, probe=where, max_positions=max_positions, targets=targets, seed=seed)
        return solve_gathered(gathered, matcher)
    gathered = gather(
        models, data, spec=spec, reference=reference, probe=matcher.probe if probe == "auto" else probe, full=matcher.covariances,
        every=isinstance(matcher, JointMatcher), read=not isinstance(matcher, StateMatcher), max_positions=max_positions, targets=targets, seed=seed,
        traced=traced,
    )  # fmt: skip
    return solve_gathered(gathered, matcher)


def _weights_alone(models: Sequence[nn.Module], matcher: Matcher, spec: SymmetrySpec | None, reference: int | None, seed: int) -> Gathered:
    """What there is without data."""
    if not isinstance(matcher, StateMatcher):
        raise AlignmentError(f"The matcher '{name_of(matcher)}' reads features; pass calibration data, or use method='weights'.")
    if spec is None:
        raise AlignmentError("Without data the networks cannot be traced; pass spec=onefold.find_symmetries(model, example_inputs), or data.")
    check_networks(models)
    check_reference(reference, len(models))
    folds = any(layer.norm is not None for layer in spec.layers)
    states = tuple(model.state_dict() for model in models)
    return Gathered(spec, len(models), reference, Statistics({}, {}), {}, (), folds, False, {}, states, seed)


def solve_gathered(gathered: Gathered, matcher: Matcher) -> Alignment:
    """The alignment that `matcher` finds in what `gather` measured. Solving again with other settings costs no pass over the data.

    Raises:
        AlignmentError: the matcher cannot work with these features. DataError: it needs more moments than were gathered.
    """
    start = time.perf_counter()
    spec, reference, members = gathered.spec, gathered.reference, gathered.members
    solved = solve_groups(gathered, matcher)
    maps = {name: s.maps for name, s in solved.items()}
    specs = gathered.specs or (spec,) * members
    aims = {layer.output: _target(specs, layer, gathered.statistics.layers[layer.output], maps) for layer in gathered.layers}
    return Alignment(
        method=name_of(matcher),
        spec=spec,
        reference=reference,
        members=members,
        maps=maps,
        scores={name: s.scores for name, s in solved.items()},
        conditions={name: s.conditions for name, s in solved.items()},
        matchers={name: s.matcher for name, s in solved.items()},
        fallbacks={name: s.fallback for name, s in solved.items() if s.fallback},
        targets=aims,
        probes={name: tuple(f"{p.node} ({p.kind})" for p in places) for name, places in gathered.probes.items()},
        specs=gathered.specs,
        folds_norms=gathered.folds_norms,
        folds_scales=gathered.folds_scales,
        examples=gathered.statistics.examples,
        numbers=gathered.statistics.numbers,
        seconds=gathered.seconds | {"solve": time.perf_counter() - start},
    )


def _matcher(method: str | Matcher, settings: Mapping[str, float | None]) -> Matcher:
    """The matcher with the settings that are not None. Raises RecipeError for a setting that it has not got."""
    given = {name: value for name, value in settings.items() if value is not None}
    kind = type(method) if isinstance(method, Matcher) else matchers.get(method)
    for name in given:
        if name not in {f.name for f in dataclasses.fields(kind)}:
            having = [e.name for e in matchers if name in {f.name for f in dataclasses.fields(e.value)}]
            raise RecipeError(f"The matcher '{name_of(kind)}' takes no {name}; leave it out, or use {' or '.join(having)}.")
    return dataclasses.replace(method, **given) if isinstance(method, Matcher) else kind(**given)


def _target(specs: Sequence[SymmetrySpec], layer: Layer, moments: Moments, maps: Mapping[str, tuple[GroupMap, ...]]) -> Target:
    """The average over the members of the mean and deviation of their mapped layer outputs: T m_k and diag(T S_kk T')^(1/2)."""
    means, deviations = [], []
    for k, spec in enumerate(specs):
        axis = spec.nodes[layer.output][layer.output_axis]
        here = set(live_groups(axis))
        duals = [name for name in here if Slot(layer.weight, layer.weight_axis, "consumer") in spec.group(name).slots]
        own, width = maps_of_output({name: m[k] for name, m in maps.items()}, duals), axis.size
        means.append(map_features(moments.means[k][:width], (axis,), spec, own))
        if moments.full:
            variance = map_features(moments.covariance(k)[:width, :width], (axis, axis), spec, own).diagonal()
        else:
            variance = map_features(moments.variances[k][:width], (axis,), spec, own)
        deviations.append(variance.clamp_min(0.0).sqrt())
    # Sorted before they are summed, so that the bits do not depend on the members' order.
    return Target(torch.stack(means).sort(0).values.mean(0), torch.stack(deviations).sort(0).values.mean(0))
