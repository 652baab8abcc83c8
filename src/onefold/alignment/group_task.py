"""Solutions of one group, or of the groups over one index, for every member.

- Pairwise: every member is matched to the reference.
- Consensus: every member is matched into a basis that all agree on.
- Joint: a matcher maps all members at once.
- Indexed: the groups that share the numbering of their fibres are matched together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from onefold.alignment.consensus import consensus
from onefold.alignment.features import MemberPair, PooledFeatures
from onefold.alignment.layout import Layout
from onefold.alignment.matchers import JointMatcher, Match, Matcher
from onefold.alignment.matchers.balanced import match_balanced
from onefold.alignment.moments import Moments
from onefold.alignment.results import GroupSolution, name_of
from onefold.symmetry import GroupMap
from onefold.symmetry.axes import Group


@dataclasses.dataclass(frozen=True)
class GroupTask:
    """One group to be matched.

    Attributes:
        layout: the layout of its features.
        moments: of its features.
        dual: moments of its features that take the inverse transpose; None if there are none.
        matcher: the matcher that serves it; None: the balanced map of two sides.
        label: the name of the matcher, for reports.
        fallback: why it is not the matcher that was asked for; "" if it is.
        ridge: the regularization of the balanced map.
    """

    layout: Layout
    moments: Moments
    dual: Moments | None
    matcher: Matcher | None
    label: str
    fallback: str
    ridge: float

    def pairs(self, member: int) -> list[MemberPair]:
        """The features of the reference and of a member, for either side of the group."""
        return [
            MemberPair(m, member, self.layout.fibres)
            for m in (self.moments, self.dual)
            if m is not None
        ]

    def match(self, pairs: Sequence[MemberPair], ours: int, theirs: int) -> Match:
        """Match fibre `ours` of the reference with fibre `theirs` of the member."""
        member, reference = pairs[0].member, self.moments.reference or 0
        still = [bool(side[reference, ours] or side[member, theirs]) for side in self._constant]
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
        """(K, fibres), bool, of either side: all features of a member's fibre never vary."""
        return [
            side.constant.reshape(side.members, self.layout.fibres, -1).all(-1)
            for side in (self.moments, self.dual)
            if side is not None
        ]

    @cached_property
    def still(self) -> Tensor:
        """(K, fibres), bool: the fibre of the member stays as it is."""
        sides = torch.stack(self._constant)
        return sides.any(0) if self.matcher is None else sides.all(0)


def solve_pairwise(task: GroupTask, members: int, reference: int) -> GroupSolution:
    """Match every member to the reference; the order of fibres stays."""
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


def solve_consensus(task: GroupTask, order: Sequence[int]) -> GroupSolution:
    """Match every member into a basis that all agree on.

    Args:
        task: the group.
        order: the members, in the order in which they take turns (`order_of`).
    """
    assert task.matcher is not None
    size = task.layout.width // task.layout.fibres
    of_fibres = []
    for f in range(task.layout.fibres):
        still = [k for k in range(task.moments.members) if task.still[k, f]]
        columns = slice(f * size, (f + 1) * size)
        of_fibres.append(consensus(task.moments, task.matcher.match, order, columns, still))
    found = [[matches[k] for matches in of_fibres] for k in range(task.moments.members)]
    return _as_solution(task, found, [range(task.layout.fibres)] * task.moments.members)


def solve_joint(moments: Moments, matcher: JointMatcher) -> GroupSolution:
    """Let a matcher solve a group for all members at once."""
    matches = matcher.match_all(moments)
    scores = torch.stack([m.scores.cpu().double() for m in matches])
    maps, conditions = tuple(m.map for m in matches), tuple(m.condition for m in matches)
    return GroupSolution(maps, scores, conditions, name_of(matcher))


def solve_indexed(
    index: str, tasks: Sequence[GroupTask], members: int, reference: int
) -> dict[str, GroupSolution]:
    """Match all groups over one index together.

    Every fibre of the reference is matched with every fibre of a member. The assignment of fibres
    that agrees best over all groups is taken, with the maps of these matches.

    Args:
        index: the name of the group that numbers the fibres.
        tasks: the groups over it.
        members: K.
        reference: the number of the reference.
    """
    count = tasks[0].layout.fibres
    orders: list[list[int]] = []
    agreement = torch.ones(members, count, dtype=torch.float64)
    chosen: list[list[list[Match]]] = [[] for _ in tasks]
    for k in range(members):
        if k == reference:
            orders.append(list(range(count)))
            for matches_of_task, task in zip(chosen, tasks, strict=True):
                matches_of_task.append([_identity(task.layout.group)] * count)
            continue
        every = []
        for task in tasks:
            pairs = task.pairs(k)
            every.append([[task.match(pairs, i, j) for j in range(count)] for i in range(count)])
        score = torch.stack([_mean_scores(matches) for matches in every]).mean(0)
        columns = linear_sum_assignment(score.nan_to_num().numpy(), maximize=True)[1]
        order = [int(j) for j in columns]
        orders.append(order)
        agreement[k] = score[range(count), order]
        for matches_of_task, matches in zip(chosen, every, strict=True):
            matches_of_task.append([matches[i][j] for i, j in enumerate(order)])
    maps = tuple(GroupMap("permutation", torch.tensor(order)) for order in orders)
    solved = {
        index: GroupSolution(
            maps, agreement, (1.0,) * members, "fibres", "as the groups over it agree best"
        )
    }
    for task, matches_of_task in zip(tasks, chosen, strict=True):
        solved[task.layout.group.name] = _as_solution(task, matches_of_task, orders)
    return solved


def _mean_scores(matches: Sequence[Sequence[Match]]) -> Tensor:
    """The mean score of every match (fibres of the reference, fibres of a member), float64."""
    scores = [[float(m.scores.mean()) for m in row] for row in matches]
    return torch.tensor(scores, dtype=torch.float64)


def _as_solution(
    task: GroupTask, found: Sequence[Sequence[Match]], orders: Sequence[Sequence[int]]
) -> GroupSolution:
    """The matches of every member's fibres as maps, in the order of the member's own fibres.

    Args:
        task: the group.
        found: the matches of each member, in the order of the reference's fibres.
        orders: the member's fibre of each of these matches.
    """
    maps = []
    for matches, order in zip(found, orders, strict=True):
        if not task.layout.apart:
            maps.append(matches[0].map)
            continue
        of_fibres = [matches[i].map for i in sorted(range(len(order)), key=lambda i: order[i])]
        if len({m.kind for m in of_fibres}) > 1:
            of_fibres = [m.dense() for m in of_fibres]
        forward = torch.stack([m.forward for m in of_fibres])
        inverses = [m.inverse for m in of_fibres if m.inverse is not None]
        inverse = None if of_fibres[0].inverse is None else torch.stack(inverses)
        maps.append(GroupMap(of_fibres[0].kind, forward, inverse))
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
        tuple(int(fibres.sum()) for fibres in task.still),
    )


def _identity(group: Group) -> Match:
    return Match(GroupMap.identity(group.size), torch.ones(group.size, dtype=torch.float64))


def identity_solution(group: Group, members: int, reason: str) -> GroupSolution:
    """The solution of a group that stays in place, with the reason."""
    maps = (GroupMap.identity(group.size),) * members
    return GroupSolution(
        maps,
        torch.ones(members, group.size, dtype=torch.float64),
        (1.0,) * members,
        "identity",
        reason,
    )
