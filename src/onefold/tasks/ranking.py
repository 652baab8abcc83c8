"""Scores of a ranking, and what every example contributes to them.

AUROC is the probability that a positive is ranked above a negative. Its contributions are the
placement values of DeLong, DeLong & Clarke-Pearson 1988, "Comparing the areas under two or more
correlated receiver operating characteristic curves" (Biometrics 44).

    AP = (1/m) sum_(positives i) P_i,    P_i = (positives >= s_i) / (all >= s_i)

Average precision has the contributions of its influence function: the slope of AP by the weight of
an example, which is that of its own precision and of all at or below its rank.
"""

from __future__ import annotations

import torch
from torch import Tensor


def auroc(scores: Tensor, positive: Tensor) -> tuple[float, Tensor]:
    """AUROC and its contributions (n,) float64; NaN without both kinds.

    Args:
        scores: (n,) float64.
        positive: (n,) bool.
    """
    n, m = len(scores), int(positive.sum())
    if m in (0, n):
        return float("nan"), torch.full((n,), torch.nan, dtype=torch.float64)
    yes, no = scores[positive].sort().values, scores[~positive].sort().values
    above = _placed(scores[positive], no)  # share of negatives below each positive
    below = 1 - _placed(scores[~positive], yes)  # share of positives above each negative
    area = float(above.mean())
    found = torch.empty(n, dtype=torch.float64)
    found[positive] = area + n / m * (above - area)
    found[~positive] = area + n / (n - m) * (below - area)
    return area, found


def average_precision(scores: Tensor, positive: Tensor) -> tuple[float, Tensor]:
    """Average precision and its contributions (n,) float64; NaN without positives.

    Equal scores share a rank.

    Args:
        scores: (n,) float64.
        positive: (n,) bool.
    """
    n, m = len(scores), int(positive.sum())
    if m == 0:
        return float("nan"), torch.full((n,), torch.nan, dtype=torch.float64)
    order = scores.argsort(descending=True, stable=True)
    hit = positive[order].double()
    last = _end_of_ties(scores[order])
    seen = torch.arange(1, n + 1, dtype=torch.float64)[last]
    precision = hit.cumsum(0)[last] / seen
    area = float((hit * precision).sum() / m)
    # Of every positive i at or below the rank of j: (1[j positive] - P_i) / n_i.
    first = _start_of_ties(scores[order])
    tail = _sum_from(hit / seen)[first]
    own = _sum_from(hit * precision / seen)[first]
    slope = (hit * (precision - area) + hit * tail - own) / m
    found = torch.empty(n, dtype=torch.float64)
    found[order] = area + n * slope
    return area, found


def _placed(values: Tensor, others: Tensor) -> Tensor:
    """The share of sorted others below each value, ties by half."""
    low = torch.searchsorted(others, values, right=False)
    high = torch.searchsorted(others, values, right=True)
    return (low + high).double() / (2 * len(others))


def _end_of_ties(ordered: Tensor) -> Tensor:
    """For each place of ordered values the last place of an equal one."""
    counts: Tensor = torch.unique_consecutive(ordered, return_counts=True)[1]
    return (counts.cumsum(0) - 1).repeat_interleave(counts)


def _start_of_ties(ordered: Tensor) -> Tensor:
    counts: Tensor = torch.unique_consecutive(ordered, return_counts=True)[1]
    return (counts.cumsum(0) - counts).repeat_interleave(counts)


def _sum_from(values: Tensor) -> Tensor:
    """The sum of each value and all after it."""
    return values.flip(0).cumsum(0).flip(0)


__all__ = ["auroc", "average_precision"]
