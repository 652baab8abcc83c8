"""Differences of two networks on the same examples, example by example.

With n examples, of which only the first network answers `won` rightly and only the second `lost`,

    gain = (won - lost) / n,    error^2 = (1 / (n - 1)) (mean_i d_i^2 - gain^2),
    d_i = hit_i - hit'_i,

which is the standard error of a mean of paired differences; that of losses is the same with d_i =
loss_i - loss'_i. Whether a gain is more than chance is McNemar's question (1947, "Note on the
sampling error of the difference between correlated proportions or percentages", Psychometrika 12):
of the won + lost examples on which the two disagree, is half won? The p-value is that of z = |won -
lost| / sqrt(won + lost), and below FEW such examples that of the binomial distribution itself. If
answers cannot be paired the error is sqrt(e^2 + e'^2), that of two independent test sets.

Ensembles and pools are networks here: their answers are collected as those of one.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from onefold.finite import finite
from onefold.measure.scores import Scores

# discordant answers: below, the normal distribution is no good stand-in for the binomial one
FEW = 25
ONE_ERROR = math.erfc(1 / math.sqrt(2))  # the p-value of one standard error, 0.317
TWO_ERRORS = math.erfc(2 / math.sqrt(2))  # the p-value of two standard errors, 0.0455
ALIKE = 1e-5  # relative difference of losses that rounding explains


@dataclass(frozen=True)
class Difference:
    """One network's scores less another's.

    Attributes:
        gain: of accuracies, a fraction of 1.
        error: the standard error of the gain.
        loss: of mean losses in nats; below 0 if the first is better.
        loss_error: the standard error of the loss; NaN unless `paired` and finite.
        won: examples that only the first answers rightly; 0 unless `paired`.
        lost: examples that only the second answers rightly; 0 unless `paired`.
        p: the probability of a gain as far from 0 as this one if neither is better.
        n: examples of the first.
        paired: whether the two were compared example by example.
        same: whether every answer is right in both or wrong in both, and of equal loss up to
            rounding.
        why: why the two were not paired; "" if they were.
    """

    gain: float
    error: float
    loss: float
    loss_error: float
    won: int
    lost: int
    p: float
    n: int
    paired: bool = True
    same: bool = False
    why: str = ""

    @property
    def clear(self) -> bool:
        """Whether chance gives such a gain as rarely as two standard errors, or more rarely."""
        return self.gain != 0 and self.p <= TWO_ERRORS

    @property
    def leads(self) -> bool:
        """Whether the first is ahead, and chance gives that as rarely as one standard error."""
        return self.gain > 0 and self.p <= ONE_ERROR

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not finite becomes a word."""
        return {name: finite(value) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        how = (
            f"{self.won} answers gained and {self.lost} lost"
            if self.paired
            else f"unpaired, as {self.why}"
        )
        return (
            f"{100 * self.gain:+.2f} percentage points, standard error {100 * self.error:.2f},"
            f" {how}"
        )


def difference(first: Scores, second: Scores) -> Difference:
    """The first network's scores less the second's.

    They are paired if both were taken on the same examples in one order: as many examples of the
    same labels in the same order. Should two data sets agree in that by chance, their pairs are
    independent, and the paired error is that of independent test sets.
    """
    gain, loss = first.accuracy - second.accuracy, first.nll - second.nll
    why = _unpaired(first, second)
    if why or first.answers is None or second.answers is None:
        error = math.hypot(first.accuracy_error, second.accuracy_error)
        p = math.erfc(abs(gain) / error / math.sqrt(2)) if error else float(gain == 0)
        return Difference(gain, error, loss, math.nan, 0, 0, p, first.n, paired=False, why=why)
    mine, other = first.answers, second.answers
    won, lost = int((mine.hits & ~other.hits).sum()), int((other.hits & ~mine.hits).sum())
    steps = mine.hits.double() - other.hits.double()
    # Equal losses differ by 0, infinite ones too.
    losses = torch.where(
        mine.losses == other.losses, 0.0, mine.losses.double() - other.losses.double()
    )
    rounding = ALIKE * (1 + torch.minimum(mine.losses, other.losses).double())
    same = not won and not lost and bool(((losses == 0) | (losses.abs() <= rounding)).all())
    return Difference(
        (won - lost) / first.n,
        mean_error(steps),
        float(losses.mean()),
        mean_error(losses),
        won,
        lost,
        sign_test(won, lost),
        first.n,
        same=same,
    )


def mean_error(values: Tensor) -> float:
    """The standard error of the mean of independent values (n,).

    It is NaN if a value is not finite, and 0 for a single value.
    """
    values = values.double()
    return float((values.var(correction=0) / max(1, len(values) - 1)).sqrt())


def sign_test(won: int, lost: int) -> float:
    """The two-sided p-value of `won` against `lost` if both are as likely.

    It is exact for few examples, and by McNemar's z for many.
    """
    count = won + lost
    if count >= FEW:
        return math.erfc(abs(won - lost) / math.sqrt(2 * count))
    tail = sum(math.comb(count, k) for k in range(min(won, lost) + 1))
    return min(1.0, tail / 2.0 ** (count - 1))


def _unpaired(first: Scores, second: Scores) -> str:
    """Why two scores cannot be paired, as words behind "as"; "" if they can."""
    if first.answers is None or second.answers is None:
        return "single answers were not kept"
    if first.n != second.n or len(first.answers.hits) != len(second.answers.hits):
        return f"they were scored on {first.n} and {second.n} examples"
    if first.answers.labels != second.answers.labels:
        return "they were scored on other examples or in another order"
    return ""


__all__ = ["Difference", "difference", "mean_error", "sign_test"]
