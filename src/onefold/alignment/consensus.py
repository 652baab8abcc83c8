"""A common basis of all members that prefers none of them, and so does not depend on their order.

Each member in turn is matched to the mean of the others as they are mapped so far, until nothing
moves:

    T_k = match(1 / (K - 1) sum over j != k of T_j x_j,  x_k)

Any matcher serves. For rotations this is generalised Procrustes analysis (Gower 1975, Psychometrika
40). For permutations it is the iterated assignment to the sum (Ainsworth et al. 2023, algorithm 3,
on correlations). Every step of these two raises the sum over pairs of <T_j S_jk, T_k>. Everything
follows from the cross moments of all pairs, so that the data are read once.

The start is the member whose features agree most with the others', by |corr_jk|^2 summed over
members and groups, which no permutation changes. Turns are taken in the order of that
agreement.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import torch

from onefold.alignment.features import ConsensusFeatures, Features
from onefold.alignment.matchers.base import Match
from onefold.alignment.moments import Moments
from onefold.symmetry import GroupMap

SWEEPS, SETTLED = 20, 1e-7


def order_of(moments: Mapping[str, Moments]) -> list[int]:
    """The members by how much their features agree with the others', best first."""
    members = next(iter(moments.values())).members if moments else 1
    total = torch.zeros(members, dtype=torch.float64)
    for group in moments.values():
        for i in range(members):
            for j in range(i + 1, members):
                agreement = float(group.correlation_between(i, j).square().sum()) / group.width
                total[i] += agreement
                total[j] += agreement
    return sorted(range(members), key=lambda k: -float(total[k]))


def consensus(
    moments: Moments,
    match: Callable[[Features, int], Match],
    order: Sequence[int],
    fibre: slice,
    still: Collection[int] = (),
) -> list[Match]:
    """The match of every member to the mean of the others.

    Args:
        moments: of all pairs of members.
        match: the matcher's function of features and a member.
        order: the members, in the order in which they take turns (`order_of`).
        fibre: the columns of the fibre that is matched.
        still: the members that stay as they are.
    """
    width = fibre.stop - fibre.start
    first = GroupMap.identity(width)
    unmatched = Match(first, torch.zeros(width, dtype=torch.float64))
    found: dict[int, Match] = {}
    maps: dict[int, GroupMap] = {order[0]: first}
    score = float("-inf")
    for sweep in range(SWEEPS):
        before = dict(maps)
        for k in order[1:] if sweep == 0 else order:
            # Always in this order: sums have the same bits whatever the members' numbers.
            placed = {j: maps[j] for j in order if j in maps}
            apart = k in still or all(j in still for j in placed if j != k)
            found[k] = (
                unmatched if apart else match(ConsensusFeatures(moments, k, placed, fibre), k)
            )
            maps[k] = found[k].map
        total = sum(float(m.scores.mean()) for m in found.values())
        if sweep and (_same(before, maps) or abs(total - score) < SETTLED * len(maps)):
            break
        score = total
    return [found[k] for k in range(moments.members)]


def _same(before: Mapping[int, GroupMap], after: Mapping[int, GroupMap]) -> bool:
    return all(
        old.kind == after[k].kind
        and old.forward.shape == after[k].forward.shape
        and torch.equal(old.forward, after[k].forward)
        for k, old in before.items()
    )
