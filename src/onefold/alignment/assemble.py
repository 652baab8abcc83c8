"""What was found for some of the members: the maps of every group, and the moments of their mapped
layer outputs; and the alignment it makes.

Members can be solved one by one against the reference: nothing in a member's solution depends on
the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from onefold.alignment.alignment import Alignment, Target
from onefold.alignment.checkpoint import NO_CHECKPOINT, NoCheckpoint
from onefold.alignment.layout import layouts
from onefold.alignment.matchers import Matcher
from onefold.alignment.matchers.identity import Identity
from onefold.alignment.moments import Moments
from onefold.alignment.problem import AlignmentProblem
from onefold.alignment.results import GroupSolution, Solution, name_of
from onefold.alignment.solve import solve_groups
from onefold.alignment.structure import nothing_to_align
from onefold.layers import Layer
from onefold.symmetry import GroupMap, SymmetrySpec, map_features
from onefold.symmetry.axes import Slot, live_groups
from onefold.symmetry.coverage import why_still
from onefold.symmetry.maps import maps_of_output


def solve_members(
    problem: AlignmentProblem, matcher: Matcher, checkpoint: NoCheckpoint = NO_CHECKPOINT
) -> Solution:
    """Every group and every layer's output in what was problem.

    Raises AlignmentError, DataError: see `solve_groups`.
    """

    def solve() -> Solution:
        solved = solve_groups(problem, matcher, checkpoint)
        maps = {name: one.maps for name, one in solved.items()}
        specs = problem.specs or (problem.spec,) * problem.members
        outputs = {
            layer.output: _outputs(specs, layer, problem.statistics.layers[layer.output], maps)
            for layer in problem.layers
        }
        return Solution(solved, outputs)

    return checkpoint.solution(solve)


def alignment_of(
    problem: AlignmentProblem, solution: Solution, matcher: Matcher, seconds: Mapping[str, float]
) -> Alignment:
    """The alignment of the members of `solution`; what else is to be said about them stands in
    `problem`.

    Raises:
        NothingToAlignError: a matcher that moves features moved none of any group.
    """
    solved = {
        name: _with_still(one, problem, matcher, name) for name, one in solution.solved.items()
    }
    if not isinstance(matcher, Identity) and all(
        one.matcher == "identity" for one in solved.values()
    ):
        reasons = dict.fromkeys(one.fallback for one in solved.values() if one.fallback)
        raise nothing_to_align("the networks", "; ".join(reasons) or why_still(problem.spec))
    return Alignment(
        method=name_of(matcher),
        spec=problem.spec,
        reference=problem.reference,
        members=problem.members,
        maps={name: s.maps for name, s in solved.items()},
        scores={name: s.scores for name, s in solved.items()},
        conditions={name: s.conditions for name, s in solved.items()},
        matchers={name: s.matcher for name, s in solved.items()},
        fallbacks={name: s.fallback for name, s in solved.items() if s.fallback},
        # Sorted before they are summed, so that the bits do not depend on the members' order.
        targets={
            node: Target(*(own.sort(0).values.mean(0) for own in both))
            for node, both in solution.outputs.items()
        },
        probes={
            name: tuple(f"{p.node} ({p.kind})" for p in places)
            for name, places in problem.probes.items()
        },
        specs=problem.specs,
        folds_norms=problem.folds_norms,
        folds_scales=problem.folds_scales,
        examples=problem.statistics.examples,
        numbers=problem.statistics.numbers,
        seconds=dict(seconds),
    )


def _with_still(
    one: GroupSolution, problem: AlignmentProblem, matcher: Matcher, name: str
) -> GroupSolution:
    """The same, with a word on members whose features never vary, and named identity where no
    member moved for that.
    """
    if not any(one.still) or isinstance(matcher, Identity):
        return one
    count = layouts(problem.spec)[name].fibres
    dead = [k for k, still in enumerate(one.still) if still == count]
    parted = [k for k, still in enumerate(one.still) if 0 < still < count]
    told = [f"its features never vary on the calibration data in {_members(dead)}"] if dead else []
    told += (
        [f"some of its {count} fibres never vary on the calibration data in {_members(parted)}"]
        if parted
        else []
    )
    left = problem.reference in dead or len(dead) >= problem.members - 1
    reason = "; ".join([*([one.fallback] if one.fallback and not left else []), *told])
    return dataclasses.replace(one, matcher="identity" if left else one.matcher, fallback=reason)


def _members(numbers: Sequence[int]) -> str:
    return f"member{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _outputs(
    specs: Sequence[SymmetrySpec],
    layer: Layer,
    moments: Moments,
    maps: Mapping[str, tuple[GroupMap, ...]],
) -> tuple[Tensor, Tensor]:
    """Mean and deviation (K, channels) of every member's mapped layer output: T m_k and diag(T S_kk
    T')^(1/2).
    """
    means, deviations = [], []
    for k, spec in enumerate(specs):
        axis = spec.nodes[layer.output][layer.output_axis]
        here = set(live_groups(axis))
        duals = [
            name
            for name in here
            if Slot(layer.weight, layer.weight_axis, "consumer") in spec.group(name).slots
        ]
        own, width = maps_of_output({name: m[k] for name, m in maps.items()}, duals), axis.size
        means.append(map_features(moments.means[k][:width], (axis,), spec, own))
        if moments.full:
            variance = map_features(
                moments.covariance(k)[:width, :width], (axis, axis), spec, own
            ).diagonal()
        else:
            variance = map_features(moments.variances[k][:width], (axis,), spec, own)
        deviations.append(variance.clamp_min(0.0).sqrt())
    return torch.stack(means), torch.stack(deviations)
