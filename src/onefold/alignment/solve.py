"""Solve every group for every member: which matcher may serve it, fibre by fibre where it has
fibres, all groups of one index together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property, partial

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from onefold.alignment.checkpoint import NO_CHECKPOINT, NoCheckpoint
from onefold.alignment.consensus import consensus, order_of
from onefold.alignment.features import MemberPair, PooledFeatures
from onefold.alignment.layout import Layout, layouts
from onefold.alignment.matchers import JointMatcher, Match, Matcher, StateMatcher, matchers
from onefold.alignment.matchers.balanced import match_balanced
from onefold.alignment.matchers.procrustes import Procrustes
from onefold.alignment.moments import Moments
from onefold.alignment.probes import ROTATIONS
from onefold.alignment.problem import DUAL, AlignmentProblem
from onefold.alignment.results import GroupSolution, name_of
from onefold.alignment.samples import check_rank
from onefold.alignment.widths import solve_widths
from onefold.errors import AlignmentError
from onefold.symmetry import GroupMap
from onefold.symmetry.axes import Group


def solve_groups(
    problem: AlignmentProblem, matcher: Matcher, checkpoint: NoCheckpoint = NO_CHECKPOINT
) -> dict[str, GroupSolution]:
    """Every group of the spec, by name.

    Groups that cannot be read stay in place. checkpoint: where each is checkpoint as soon as it is solved.

    Raises:
        AlignmentError: the matcher cannot work with these features. DataError: it needs more
            moments than were problem.
    """
    if isinstance(matcher, StateMatcher):
        return checkpoint.groups("all", lambda: _read_from_weights(problem, matcher))
    if problem.specs is not None:
        return checkpoint.groups("all", lambda: solve_widths(problem, matcher))
    spec, layout, ridge = (
        problem.spec,
        layouts(problem.spec),
        float(getattr(matcher, "regularization", 0.1)),
    )
    every = problem.statistics.groups
    order = order_of(every) if problem.reference is None else []
    reference = order[0] if problem.reference is None else problem.reference
    moments = (
        every
        if problem.reference is not None
        else {name: own.seen_from(reference) for name, own in every.items()}
    )
    if not isinstance(matcher, JointMatcher):
        of = {group.name + dual: group for group in spec.groups for dual in ("", DUAL)}
        check_rank(of, moments, lambda group: _choose(group, matcher, problem.folds_scales)[0])
    together: dict[str, list[GroupTask]] = {}
    solved: dict[str, GroupSolution] = {}
    for group in spec.groups:
        own = layout[group.name]
        if group.name not in moments:
            continue
        jointly = (
            isinstance(matcher, JointMatcher)
            and group.dense
            and not own.apart
            and group.name + DUAL not in moments
        )
        dead = bool(moments[group.name].constant.all(1).any())
        if isinstance(matcher, JointMatcher) and jointly and not dead:
            solved |= checkpoint.groups(
                group.name,
                partial(_by_name, group.name, _solve_joint, moments[group.name], matcher),
            )
            continue
        chosen, label, fallback = _choose(group, matcher, problem.folds_scales)
        task = GroupTask(
            own,
            moments[group.name],
            moments.get(group.name + DUAL),
            chosen,
            label,
            "" if jointly else fallback,
            ridge,
        )
        if own.index is not None:
            together.setdefault(own.index, []).append(task)
        elif order and task.dual is None:
            solved |= checkpoint.groups(
                group.name, partial(_by_name, group.name, _solve_consensus, task, order)
            )
        else:
            solved |= checkpoint.groups(
                group.name,
                partial(_by_name, group.name, _solve_pairwise, task, problem.members, reference),
            )
    for index, tasks in together.items():
        solved |= checkpoint.groups(
            index, partial(_solve_indexed, index, tasks, problem.members, reference)
        )
    indices = {name for group in spec.groups for name in group.over}
    for group in spec.groups:
        if group.name not in solved:
            reason = (
                "numbers the fibres of other groups"
                if group.name in indices
                else "no node shows its features alone"
            )
            solved[group.name] = _identity_solution(group, problem.members, reason)
    return {group.name: solved[group.name] for group in spec.groups}


def _by_name(
    name: str, solve: Callable[..., GroupSolution], *arguments: object
) -> dict[str, GroupSolution]:
    return {name: solve(*arguments)}


@dataclasses.dataclass(frozen=True)
class GroupTask:
    """One group to be matched. dual: moments of the features that take the inverse transpose."""

    layout: Layout
    moments: Moments
    dual: Moments | None
    matcher: Matcher | None  # None: the balanced map of two sides
    label: str
    fallback: str
    ridge: float

    def pairs(self, member: int) -> list[MemberPair]:
        return [
            MemberPair(m, member, self.layout.fibres)
            for m in (self.moments, self.dual)
            if m is not None
        ]

    def match(self, pairs: Sequence[MemberPair], ours: int, theirs: int) -> Match:
        member, reference = pairs[0].member, self.moments.reference or 0
        still = [bool(own[reference, ours] or own[member, theirs]) for own in self._constant]
        blocks = [
            pair.block(ours, theirs) for pair, never in zip(pairs, still, strict=True) if not never
        ]
        if not blocks or (self.matcher is None and any(still)):
            return Match(
                GroupMap.identity(self.layout.group.size),
                torch.zeros(self.layout.group.size, dtype=torch.float64),
            )
        if self.matcher is None:
            return match_balanced(blocks[0], blocks[1], member, self.ridge)
        return self.matcher.match(blocks[0] if len(blocks) == 1 else PooledFeatures(blocks), member)

    @cached_property
    def _constant(self) -> list[Tensor]:
        """(K, fibres), bool, of either side: where all features of a member never vary, so that
        there is nothing to match.
        """
        return [
            own.constant.reshape(own.members, self.layout.fibres, -1).all(-1)
            for own in (self.moments, self.dual)
            if own is not None
        ]

    @cached_property
    def still(self) -> Tensor:
        """(K, fibres), bool: where a member stays as it is."""
        sides = torch.stack(self._constant)
        return sides.any(0) if self.matcher is None else sides.all(0)


def _choose(group: Group, matcher: Matcher, folded: bool) -> tuple[Matcher | None, str, str]:
    """Who serves a group, its name, and why it is not the matcher asked for.

    The widest class of maps that the group takes decides.
    """
    allowed = group.maps | (group.folded if folded else frozenset())
    approximate = ROTATIONS.isdisjoint(allowed)
    if not isinstance(matcher, JointMatcher) and (
        not matcher.dense or (group.dense and not (matcher.exact and approximate))
    ):
        return matcher, name_of(matcher), ""
    if not matcher.rotates:
        return (
            matchers.get("permutation")(),
            "permutation",
            "its fibres take maps of their own" if group.dense else "its tensors take no dense map",
        )
    prior = getattr(matcher, "prior", None)
    rotation = Procrustes() if prior is None else Procrustes(prior=prior)
    if "invertible" in group.maps:
        return (
            (None, "balanced", "products of two features keep one map for both")
            if group.duals
            else (matcher, name_of(matcher), "")
        )
    if "orthogonal" in allowed:
        return (
            rotation,
            "procrustes",
            "" if isinstance(matcher, Procrustes) else "its tensors take rotations only",
        )
    if "orthogonal_mean" in allowed:
        return (
            dataclasses.replace(rotation, fixes_mean=True),
            "procrustes",
            "its tensors take rotations only that keep the mean",
        )
    return (
        matchers.get("permutation")(),
        "permutation",
        "" if group.dense else "its tensors take no dense map",
    )


def _solve_pairwise(task: GroupTask, members: int, reference: int) -> GroupSolution:
    """A group whose fibres, if it has any, stay in their places."""
    found: list[list[Match]] = []
    for k in range(members):
        pairs = task.pairs(k) if k != reference else []
        found.append(
            [
                task.match(pairs, f, f) if pairs else _identity(task.layout.group)
                for f in range(task.layout.fibres)
            ]
        )
    return _as_solution(task, found, [range(task.layout.fibres)] * members)


def _solve_consensus(task: GroupTask, order: Sequence[int]) -> GroupSolution:
    """The same in a basis that all members agree on."""
    assert task.matcher is not None
    size = task.layout.width // task.layout.fibres
    each = []
    for f in range(task.layout.fibres):
        still = [k for k in range(task.moments.members) if task.still[k, f]]
        each.append(
            consensus(
                task.moments, task.matcher.match, order, slice(f * size, (f + 1) * size), still
            )
        )
    found = [[own[k] for own in each] for k in range(task.moments.members)]
    return _as_solution(task, found, [range(task.layout.fibres)] * task.moments.members)


def _solve_joint(moments: Moments, matcher: JointMatcher) -> GroupSolution:
    """A group that a matcher solves for all members at once."""
    found = matcher.match_all(moments)
    scores = torch.stack([m.scores.cpu().double() for m in found])
    return GroupSolution(
        tuple(m.map for m in found), scores, tuple(m.condition for m in found), name_of(matcher)
    )


def _read_from_weights(
    problem: AlignmentProblem, matcher: StateMatcher
) -> dict[str, GroupSolution]:
    """Every group by a matcher that reads no features."""
    if not problem.states:
        raise AlignmentError(
            f"The matcher '{name_of(matcher)}' reads weights, which were not problem; call"
            " onefold.align with the networks."
        )
    found = matcher.match_states(problem.spec, problem.states, problem.reference, problem.seed)
    label = name_of(matcher)
    return {
        name: GroupSolution(
            tuple(m.map for m in own),
            torch.stack([m.scores for m in own]),
            tuple(m.condition for m in own),
            label,
        )
        for name, own in found.items()
    }


def _solve_indexed(
    index: str, tasks: Sequence[GroupTask], members: int, reference: int
) -> dict[str, GroupSolution]:
    """All groups over one index: every fibre with every other; the assignment of fibres that agrees
    best; and the maps that go with it.
    """
    count = tasks[0].layout.fibres
    orders: list[list[int]] = []
    agreement = torch.ones(members, count, dtype=torch.float64)
    chosen: list[list[list[Match]]] = [[] for _ in tasks]
    for k in range(members):
        if k == reference:
            orders.append(list(range(count)))
            for own, task in zip(chosen, tasks, strict=True):
                own.append([_identity(task.layout.group)] * count)
            continue
        every = []
        for task in tasks:
            pairs = task.pairs(k)
            every.append([[task.match(pairs, i, j) for j in range(count)] for i in range(count)])
        score = torch.stack(
            [
                torch.tensor(
                    [[float(m.scores.mean()) for m in row] for row in own], dtype=torch.float64
                )
                for own in every
            ]
        ).mean(0)
        order = [
            int(j) for j in linear_sum_assignment(score.nan_to_num().numpy(), maximize=True)[1]
        ]
        orders.append(order)
        agreement[k] = score[range(count), order]
        for own, matches in zip(chosen, every, strict=True):
            own.append([matches[i][j] for i, j in enumerate(order)])
    maps = tuple(GroupMap("permutation", torch.tensor(order)) for order in orders)
    solved = {
        index: GroupSolution(
            maps, agreement, (1.0,) * members, "fibres", "as the groups over it agree best"
        )
    }
    for task, found in zip(tasks, chosen, strict=True):
        solved[task.layout.group.name] = _as_solution(task, found, orders)
    return solved


def _as_solution(
    task: GroupTask, found: Sequence[Sequence[Match]], orders: Sequence[Sequence[int]]
) -> GroupSolution:
    """The matches of every member's fibres as maps.

    `orders`: which of the member's fibres each match is of; maps go by the member's numbers.
    """
    maps = []
    for matches, order in zip(found, orders, strict=True):
        if not task.layout.apart:
            maps.append(matches[0].map)
            continue
        own = [matches[i].map for i in sorted(range(len(order)), key=lambda i: order[i])]
        if len({m.kind for m in own}) > 1:
            own = [m.dense() for m in own]
        forward = torch.stack([m.forward for m in own])
        inverse = (
            None
            if own[0].inverse is None
            else torch.stack([m.inverse for m in own if m.inverse is not None])
        )
        maps.append(GroupMap(own[0].kind, forward, inverse))
    scores = torch.stack(
        [torch.cat([m.scores.cpu().double() for m in matches]) for matches in found]
    )
    conditions = tuple(max(m.condition for m in matches) for matches in found)
    return GroupSolution(
        tuple(maps),
        scores,
        conditions,
        task.label,
        task.fallback,
        tuple(int(own.sum()) for own in task.still),
    )


def _identity(group: Group) -> Match:
    return Match(GroupMap.identity(group.size), torch.ones(group.size, dtype=torch.float64))


def _identity_solution(group: Group, members: int, reason: str) -> GroupSolution:
    maps = (GroupMap.identity(group.size),) * members
    return GroupSolution(
        maps,
        torch.ones(members, group.size, dtype=torch.float64),
        (1.0,) * members,
        "identity",
        reason,
    )
