"""A common basis of all members that prefers none of them, and so does not depend on their order.

Each member in turn is matched to the mean of the others as they are mapped so far, until nothing moves:
    T_k = match(1 / (K - 1) sum over j != k of T_j x_j,  x_k),
whatever the matcher is. For rotations this is generalised Procrustes analysis (Gower 1975, Psychometrika 40), for permutations
the iterated assignment to the sum (Ainsworth et al. 2023, algorithm 3, on correlations); every step of these two raises
sum over pairs of <T_j S_jk, T_k>. Everything follows from the cross moments of all pairs, so that the data are read once.

The start is the member whose features agree most with the others', |corr_jk|^2 summed over members and groups, which no map changes; turns
are taken in the order of that agreement.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from onefold.alignment.matchers.base import Match
from onefold.alignment.moments import Moments
from onefold.alignment.views import Features
from onefold.symmetry import GroupMap

MEAN = -1  # the number of the mean of the others, beside the members' own
SWEEPS, SETTLED = 20, 1e-7


def order_of(moments: Mapping[str, Moments]) -> list[int]:
    """The members by how much their features agree with the others', best first."""
    members = next(iter(moments.values())).members if moments else 1
    total = torch.zeros(members, dtype=torch.float64)
    for own in moments.values():
        for i in range(members):
            for j in range(i + 1, members):
                agreement = float(own.correlation_between(i, j).square().sum()) / own.width
                total[i] += agreement
                total[j] += agreement
    return sorted(range(members), key=lambda k: -float(total[k]))


@dataclass(frozen=True)
class Others:
    """The mean of the other members' mapped features as a reference, beside those of one member, all of one fibre. It is `Features`."""

    moments: Moments
    member: int
    maps: Mapping[int, GroupMap]
    fibre: slice

    @property
    def width(self) -> int:
        return int(self.fibre.stop - self.fibre.start)

    @property
    def reference(self) -> int:
        return MEAN

    def deviations(self, member: int) -> Tensor:
        """Of the mean's place: the mean deviation of the others."""
        return self._own if member != MEAN else torch.stack([self._deviation(j) for j in self._placed]).mean(0)

    def covariance(self, member: int) -> Tensor:
        """Of the mean's place: the mean covariance of the others, so that the mean does not shrink as members disagree."""
        if member != MEAN:
            return self._cut(self.moments.covariance(member))
        return torch.stack([_both(self.maps[j], self._cut(self.moments.covariance(j))) for j in self._placed]).mean(0)

    def cross_covariance(self, member: int) -> Tensor:
        return torch.stack([_rows(self.maps[j], self._cut(self.moments.between(j, member))) for j in self._placed]).mean(0)

    def correlation(self, member: int) -> Tensor:
        found = []
        for j in self._placed:
            cross, norm = _rows(self.maps[j], self._cut(self.moments.between(j, member))), torch.outer(self._deviation(j), self._own)
            found.append(torch.where(norm > 1e-12, cross / norm.clamp_min(1e-12), 0.0))
        return torch.stack(found).mean(0)

    @property
    def _placed(self) -> list[int]:
        return [j for j in self.maps if j != self.member]

    @cached_property
    def _own(self) -> Tensor:
        return self.moments.variances[self.member][self.fibre].sqrt()

    def _deviation(self, j: int) -> Tensor:
        own = self.maps[j]
        if own.kind == "permutation":
            return self.moments.variances[j][self.fibre][own.forward].sqrt()
        return _both(own, self._cut(self.moments.covariance(j))).diagonal().clamp_min(0.0).sqrt()

    def _cut(self, matrix: Tensor) -> Tensor:
        return matrix[self.fibre, self.fibre]


def consensus(
    moments: Moments,
    match: Callable[[Features, int], Match],
    order: Sequence[int],
    fibre: slice,
    still: Collection[int] = (),
) -> list[Match]:
    """The match of every member to the mean of the others. order: of the members, see `order_of`. still: members that stay as they are."""
    width = fibre.stop - fibre.start
    first = GroupMap.identity(width)
    unmatched = Match(first, torch.zeros(width, dtype=torch.float64))
    found: dict[int, Match] = {}
    maps: dict[int, GroupMap] = {order[0]: first}
    score = float("-inf")
    for sweep in range(SWEEPS):
        before = dict(maps)
        for k in order[1:] if sweep == 0 else order:
            placed = {j: maps[j] for j in order if j in maps}  # always in this order: sums have the same bits whatever the members' numbers
            apart = k in still or all(j in still for j in placed if j != k)
            found[k] = unmatched if apart else match(Others(moments, k, placed, fibre), k)
            maps[k] = found[k].map
        total = sum(float(m.scores.mean()) for m in found.values())
        if sweep and (_same(before, maps) or abs(total - score) < SETTLED * len(maps)):
            break
        score = total
    return [found[k] for k in range(moments.members)]


def _same(before: Mapping[int, GroupMap], after: Mapping[int, GroupMap]) -> bool:
    return all(
        own.kind == after[k].kind and own.forward.shape == after[k].forward.shape and torch.equal(own.forward, after[k].forward)
        for k, own in before.items()
    )


def _rows(group_map: GroupMap, matrix: Tensor) -> Tensor:
    """T S."""
    if group_map.kind == "permutation":
        return matrix[group_map.forward.to(matrix.device)]
    return group_map.forward.to(matrix) @ matrix


def _both(group_map: GroupMap, matrix: Tensor) -> Tensor:
    """T S T'."""
    return _rows(group_map, _rows(group_map, matrix).T)
