"""Permutation by activations: the assignment of features that correlate most.

    max over permutations p of  sum_i corr(x_r[i], x_k[p(i)])

It is solved exactly by scipy.optimize.linear_sum_assignment. Among pairs that are correlated alike,
likeness of deviations decides (`likeness`).

Li, Yosinski, Clune, Lipson & Hopcroft 2016, "Convergent learning" (arXiv 1511.07543); Ainsworth,
Hayase & Srinivasa 2023, "Git Re-Basin", section 3.1 (arXiv 2209.04836).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from onefold.alignment.features import Features, likeness
from onefold.alignment.matchers.base import Match, Matcher, feature_matchers
from onefold.symmetry import GroupMap


def best_permutation(moments: Features, member: int) -> Tensor:
    """(C,) int64 on the CPU: the member's feature that is matched to each of the reference's."""
    _, columns = linear_sum_assignment(likeness(moments, member).cpu().numpy(), maximize=True)
    return torch.as_tensor(columns, dtype=torch.int64)


@feature_matchers.register("permutation")
@dataclass(frozen=True)
class Permutation(Matcher):
    """Exact assignment on the correlations of activations; keeps every member's function."""

    def match(self, moments: Features, member: int) -> Match:
        """Map `member` to the reference by a permutation."""
        order = best_permutation(moments, member)
        scores = moments.correlation(member).cpu().gather(1, order[:, None]).squeeze(1)
        return Match(GroupMap("permutation", order), scores)
