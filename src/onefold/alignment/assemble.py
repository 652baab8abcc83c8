"""The `Alignment` of a solution, with a reason for every group that stayed in place."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from onefold.alignment.alignment import Alignment
from onefold.alignment.layout import layout_of
from onefold.alignment.matchers import Matcher
from onefold.alignment.matchers.identity import Identity
from onefold.alignment.problem import AlignmentProblem
from onefold.alignment.results import GroupSolution, name_of
from onefold.alignment.structure import nothing_to_align
from onefold.symmetry.coverage import why_still


def assemble(
    problem: AlignmentProblem,
    solution: Mapping[str, GroupSolution],
    matcher: Matcher,
    seconds: Mapping[str, float],
) -> Alignment:
    """The alignment of the members of a problem.

    Args:
        problem: the problem.
        solution: its solution.
        matcher: the matcher that was asked for.
        seconds: phase -> seconds.

    Raises:
        NothingToAlignError: a matcher that moves features moved none of any group.
    """
    groups = {
        name: _with_dead_features(group, problem, matcher, name) for name, group in solution.items()
    }
    if not isinstance(matcher, Identity) and all(
        group.matcher == "identity" for group in groups.values()
    ):
        reasons = dict.fromkeys(group.fallback for group in groups.values() if group.fallback)
        raise nothing_to_align("the networks", "; ".join(reasons) or why_still(problem.spec))
    return Alignment(
        method=name_of(matcher),
        spec=problem.spec,
        reference=problem.reference,
        members=problem.members,
        maps={name: group.maps for name, group in groups.items()},
        scores={name: group.scores for name, group in groups.items()},
        conditions={name: group.conditions for name, group in groups.items()},
        matchers={name: group.matcher for name, group in groups.items()},
        fallbacks={name: group.fallback for name, group in groups.items() if group.fallback},
        probes={
            name: tuple(f"{p.node} ({p.kind})" for p in probes)
            for name, probes in problem.probes.items()
        },
        specs=problem.specs,
        folds_norms=problem.folds_norms,
        folds_scales=problem.folds_scales,
        examples=problem.statistics.examples,
        numbers=problem.statistics.numbers,
        seconds=dict(seconds),
        settings=matcher.settings() | problem.settings,
    )


def _with_dead_features(
    group: GroupSolution, problem: AlignmentProblem, matcher: Matcher, name: str
) -> GroupSolution:
    """The same solution with a note on members whose features never vary.

    If no member moved for that reason, the matcher of the group is named "identity".
    """
    if not any(group.still) or isinstance(matcher, Identity):
        return group
    count = layout_of(problem.spec, problem.spec.group(name)).fibres
    dead = [k for k, still in enumerate(group.still) if still == count]
    partly = [k for k, still in enumerate(group.still) if 0 < still < count]
    notes = []
    if dead:
        notes.append(f"its features never vary on the calibration data in {_members(dead)}")
    if partly:
        notes.append(
            f"some of its {count} fibres never vary on the calibration data in {_members(partly)}"
        )
    stays = problem.reference in dead or len(dead) >= problem.members - 1
    reason = "; ".join([*([group.fallback] if group.fallback and not stays else []), *notes])
    return dataclasses.replace(
        group, matcher="identity" if stays else group.matcher, fallback=reason
    )


def _members(numbers: Sequence[int]) -> str:
    return f"member{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
