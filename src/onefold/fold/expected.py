"""Expected accuracy of classifiers by the opinion of their ensemble, where there are no labels.

If q(c | x) is the probability that the members together give to class c, a network that answers
c(x) is right with probability

    h(x) = q(c(x) | x),    expected accuracy = mean_x h(x),    q = (q_pool + q_mean) / 2,

half of it the opinion of their class pool, which knows what each of them saw, and half the mean of
their probabilities. The pool alone would favour the network that was fitted to the pool, and the
mean alone the member that is the surest; together they put candidates in the order that labels do.

It is worth as much as that opinion is. Where members know different classes it is far above each of
them. Where they know the same it is not: a network may be nearer to the ensemble and be right less
often.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onefold.batches import Data
from onefold.comparison.predictions import read_predictions
from onefold.ensemble.pool import ClassPool
from onefold.finite import finite
from onefold.inference import Output
from onefold.measure.paired import mean_error


@dataclass(frozen=True)
class ExpectedGain:
    """One network's expected accuracy less another's, example by example.

    Attributes:
        gain: a fraction of 1.
        error: its standard error.
        n: examples.
    """

    gain: float
    error: float
    n: int

    @property
    def leads(self) -> bool:
        """Whether the gain is above 0 by more than a standard error."""
        return self.gain > max(self.error, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not finite becomes a word."""
        return {"gain": finite(self.gain), "error": finite(self.error), "n": self.n}

    def __str__(self) -> str:
        return f"{100 * self.gain:+.2f} percentage points, standard error {100 * self.error:.2f}"


def expected_hits(
    members: Sequence[nn.Module],
    networks: Mapping[str, nn.Module],
    pool: ClassPool,
    data: Data,
    output: Output,
) -> dict[str, Tensor]:
    """For every network (n,) how probably each of its answers is right, by the members' opinion.

    Args:
        members: the networks of the pool.
        networks: those that are judged, by name.
        pool: of the members.
        data: unlabelled batches.
        output: which output is meant.
    """
    found = read_predictions(members, data, output, list(networks.values()))
    count = len(members)
    rows = [own.double() for own in found.rows[:count]]
    mean = torch.stack([own.softmax(-1) for own in rows]).mean(0)
    opinion = (pool.combined(rows).softmax(-1) + mean) / 2
    return {
        name: opinion.gather(-1, own.argmax(-1, keepdim=True)).squeeze(-1)
        for name, own in zip(networks, found.rows[count:], strict=True)
    }


def expected_gain(first: Tensor, second: Tensor) -> ExpectedGain:
    """The expected gain of the first over the second, from their hits (n,)."""
    steps = first - second
    error = mean_error(steps) if len(steps) > 1 else math.inf
    return ExpectedGain(float(steps.mean()), error, len(steps))


__all__ = ["ExpectedGain", "expected_gain", "expected_hits"]
