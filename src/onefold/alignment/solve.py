"""Solve every group for every member.

This file decides which matcher may serve a group, and which groups are solved together. The
solution of one group is in group_task.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch

from onefold.alignment.checkpoint import NO_CHECKPOINT, NoCheckpoint
from onefold.alignment.consensus import order_of
from onefold.alignment.group_task import (
    GroupTask,
    identity_solution,
    solve_consensus,
    solve_indexed,
    solve_joint,
    solve_pairwise,
)
from onefold.alignment.layout import layout_of
from onefold.alignment.matchers import JointMatcher, Matcher, StateMatcher, feature_matchers
from onefold.alignment.matchers.procrustes import Procrustes
from onefold.alignment.moments import Moments
from onefold.alignment.probes import ROTATIONS
from onefold.alignment.problem import DUAL, AlignmentProblem
from onefold.alignment.results import GroupSolution, Solution, name_of
from onefold.alignment.samples import check_rank
from onefold.alignment.widths import solve_widths
from onefold.errors import AlignmentError
from onefold.progress import track
from onefold.symmetry.axes import Group

NO_DENSE = "its tensors take no dense map"


def solve_groups(
    problem: AlignmentProblem, matcher: Matcher, checkpoint: NoCheckpoint = NO_CHECKPOINT
) -> Solution:
    """Every group of the spec by name; groups that cannot be read stay in place.

    Args:
        problem: the structure and the moments of the networks.
        matcher: the matcher that was asked for.
        checkpoint: saves each group as soon as it is solved.

    Raises:
        AlignmentError: the matcher cannot work with these features.
        DataError: it needs more moments than were gathered.
    """

    def solve() -> Solution:
        if isinstance(matcher, StateMatcher):
            return checkpoint.groups("all", lambda: _read_from_weights(problem, matcher))
        if problem.specs is not None:
            return checkpoint.groups("all", lambda: solve_widths(problem, matcher))
        return _solve_features(problem, matcher, checkpoint)

    return checkpoint.solution(solve)


def _solve_features(
    problem: AlignmentProblem, matcher: Matcher, checkpoint: NoCheckpoint
) -> Solution:
    """Every group from the moments of its features."""
    moments: Mapping[str, Moments] = problem.statistics.groups
    order: Sequence[int] = ()
    reference = problem.reference
    if reference is None:
        order = order_of(moments)
        reference = order[0]
        moments = {name: m.with_reference(reference) for name, m in moments.items()}
    if not isinstance(matcher, JointMatcher):
        groups = {g.name + dual: g for g in problem.spec.groups for dual in ("", DUAL)}
        check_rank(groups, moments, lambda group: _choose(group, matcher, problem.folds_scales)[0])
    solved: Solution = {}
    over_index: dict[str, list[GroupTask]] = {}
    for group in track(problem.spec.groups, "Aligning groups of features"):
        if group.name not in moments:
            continue
        name = group.name
        if isinstance(matcher, JointMatcher) and _is_joint(group, problem, moments):
            make = partial(solve_joint, moments[name], matcher)
        else:
            task = _task(group, problem, matcher, moments)
            if task.layout.index is not None:
                over_index.setdefault(task.layout.index, []).append(task)
                continue
            if order and task.dual is None:
                make = partial(solve_consensus, task, order)
            else:
                make = partial(solve_pairwise, task, problem.members, reference)
        solved |= checkpoint.groups(name, partial(_named, name, make))
    for index, tasks in over_index.items():
        solved |= checkpoint.groups(
            index, partial(solve_indexed, index, tasks, problem.members, reference)
        )
    return _with_the_rest(problem, solved)


def _named(name: str, solve: Callable[[], GroupSolution]) -> Solution:
    """The solution of one group, by its name."""
    return {name: solve()}


def _with_the_rest(problem: AlignmentProblem, solved: Mapping[str, GroupSolution]) -> Solution:
    """All groups in the order of the spec; those that were not solved stay in place."""
    indices = {name for group in problem.spec.groups for name in group.over}
    complete = dict(solved)
    for group in problem.spec.groups:
        if group.name not in solved:
            reason = "no node shows its features alone"
            if group.name in indices:
                reason = "numbers the fibres of other groups"
            complete[group.name] = identity_solution(group, problem.members, reason)
    return {group.name: complete[group.name] for group in problem.spec.groups}


def _may_be_joint(group: Group, problem: AlignmentProblem, moments: Mapping[str, Moments]) -> bool:
    """Whether a joint matcher may map the group: it takes matrices, without fibres or duals."""
    apart = layout_of(problem.spec, group).apart
    return group.dense and not apart and group.name + DUAL not in moments


def _is_joint(group: Group, problem: AlignmentProblem, moments: Mapping[str, Moments]) -> bool:
    """Whether a joint matcher maps the group: it may, and no member is dead in it."""
    dead = bool(moments[group.name].constant.all(1).any())
    return _may_be_joint(group, problem, moments) and not dead


def _task(
    group: Group, problem: AlignmentProblem, matcher: Matcher, moments: Mapping[str, Moments]
) -> GroupTask:
    """The group as a task for the matcher that serves it."""
    chosen, label, fallback = _choose(group, matcher, problem.folds_scales)
    if isinstance(matcher, JointMatcher) and _may_be_joint(group, problem, moments):
        fallback = ""  # dead features are told apart
    return GroupTask(
        layout_of(problem.spec, group),
        moments[group.name],
        moments.get(group.name + DUAL),
        chosen,
        label,
        fallback,
        float(getattr(matcher, "regularization", 0.1)),
    )


def _choose(group: Group, matcher: Matcher, folded: bool) -> tuple[Matcher | None, str, str]:
    """The matcher that serves a group, its name, and why it is not the one asked for.

    The widest class of maps that the group takes decides.
    """
    allowed = group.maps | (group.folded if folded else frozenset())
    approximate = ROTATIONS.isdisjoint(allowed)
    serves = not matcher.dense or (group.dense and not (matcher.exact and approximate))
    if serves and not isinstance(matcher, JointMatcher):
        return matcher, name_of(matcher), ""
    permutation = feature_matchers.get("permutation")()
    if not matcher.rotates:
        reason = "its fibres take maps of their own"
        return permutation, "permutation", reason if group.dense else NO_DENSE
    prior = getattr(matcher, "prior", None)
    rotation = Procrustes() if prior is None else Procrustes(prior=prior)
    if "invertible" in group.maps:
        if group.duals:
            return None, "balanced", "products of two features keep one map for both"
        return matcher, name_of(matcher), ""
    if "orthogonal" in allowed:
        asked = isinstance(matcher, Procrustes)
        return rotation, "procrustes", "" if asked else "its tensors take rotations only"
    if "orthogonal_mean" in allowed:
        rotation = dataclasses.replace(rotation, fixes_mean=True)
        return rotation, "procrustes", "its tensors take rotations only that keep the mean"
    return permutation, "permutation", "" if group.dense else NO_DENSE


def _read_from_weights(
    problem: AlignmentProblem, matcher: StateMatcher
) -> dict[str, GroupSolution]:
    """Every group by a matcher that reads no features."""
    if not problem.states:
        raise AlignmentError(
            f"The matcher '{name_of(matcher)}' reads weights, which were not gathered; call"
            " onefold.align with the networks."
        )
    found = matcher.match_states(
        problem.spec, problem.states, problem.reference, problem.reading.seed
    )
    label = name_of(matcher)
    return {
        name: GroupSolution(
            tuple(m.map for m in matches),
            torch.stack([m.scores for m in matches]),
            tuple(m.condition for m in matches),
            label,
        )
        for name, matches in found.items()
    }
