"""The errors of class shares that are estimated from a classifier's predictions.

Two things move them.

Chance. The shifts b solve  mean_i g_i(b) = 0,  g_i = softmax(f(x_i) + b) - pi,  over n examples, so
that

    Cov(b) = J^+ (mean_i g_i g_i') J^+ / n,    J = mean_i (diag(p_i) - p_i p_i'),

the error of an M-estimate (Huber 1967, "The behavior of maximum likelihood estimates under
nonstandard conditions"), from which that of s ~ pi exp(-b) follows to first order. A bootstrap over
the examples gives the same.

Confidence. The shares are right for a member whose probabilities are calibrated. One that is near
chance and sure of itself shows shares far from what it saw, and no number of examples tells. The
other members' mean opinion q can: the temperature T of least cross-entropy  -mean_i q_i . log
softmax(f_i / T + b(T))  is 1 if the member is as sure as they bear it out (temperatures: Guo et
al. 2017, arXiv 1706.04599), and the shares at T say how much depends on its confidence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MOST_CLASSES = 2000  # with more, the covariance of shifts is not computed
# Temperatures are compared on at most so many examples and logits.
EXAMPLES, VALUES = 2000, 1_000_000
TEMPERATURES = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)
SINGULAR = 1e-12  # of the mean curvature: below, a shift moves no prediction

Shifts = Callable[[Tensor, Tensor], Tensor]


def sampling_errors(logits: Tensor, shifts: Tensor, shares: Tensor, seen: Tensor) -> Tensor:
    """(C,) the standard errors of the shares `seen`, at most 1 each.

    Args:
        logits: (n, C) of one member.
        shifts: (C,) float64, of its logits.
        shares: (C,) float64, of the classes in the data.
        seen: (C,) float64, the member's shares, of sum 1.
    """
    count, classes = logits.shape
    if classes > MOST_CLASSES or count < 2:
        return torch.full_like(seen, torch.nan)
    p = (logits.double() + shifts).softmax(-1)
    curvature = torch.diag(p.mean(0)) - p.T @ p / count
    off = p - shares
    values, vectors = torch.linalg.eigh(curvature)
    # The first is that of equal shifts, which move nothing.
    values, vectors = values[1:].clamp_min(SINGULAR), vectors[:, 1:]
    spread = (off @ vectors) / values
    own = spread @ (vectors.T @ (torch.diag(seen) - torch.outer(seen, seen)))
    errors: Tensor = (own.square().mean(0) / (count - 1)).sqrt().clamp(max=1.0)
    return errors


def corrected_shares(logits: Sequence[Tensor], shares: Tensor, shifts: Shifts) -> Tensor:
    """(K, C): each member's shares if it were as sure as the other members' answers bear out.

    They are NaN for a single member.

    Args:
        logits: of every member (n, C), on the same examples.
        shares: (C,) float64, of the classes in the data.
        shifts: `matching_shifts`, a function of logits and shares.
    """
    if len(logits) < 2:
        return torch.full((1, len(shares)), torch.nan, dtype=torch.float64)
    few = max(1, min(len(logits[0]), EXAMPLES, VALUES // logits[0].shape[1]))
    step = max(1, len(logits[0]) // few)
    rows = [own.double().cpu()[::step][:few] for own in logits]
    opinions = [(own + shifts(own, shares)).softmax(-1) for own in rows]
    total = torch.stack(opinions).sum(0)
    return torch.stack(
        [
            _at_best(own, (total - mine) / (len(rows) - 1), shares, shifts)
            for own, mine in zip(rows, opinions, strict=True)
        ]
    )


def _at_best(logits: Tensor, opinion: Tensor, shares: Tensor, shifts: Shifts) -> Tensor:
    found = []
    for temperature in TEMPERATURES:
        own = logits / temperature
        moved = shifts(own, shares)
        loss = -float((opinion * (own + moved).log_softmax(-1)).sum(-1).mean())
        found.append((loss, (shares.log() - moved).softmax(-1)))
    return min(found, key=lambda one: one[0])[1]


__all__ = ["corrected_shares", "sampling_errors"]
