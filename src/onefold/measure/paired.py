"""Differences of two networks on the same examples, example by example.

The score that decides is compared, in the direction in which more is better. Of a score that is a
mean of what single examples contribute, c_i and c'_i (`tasks/answers.py`), the error of the
difference is that of the mean of d_i = c_i - c'_i. Of accuracies, with n examples, of which only
the first network answers `won` rightly and only the second `lost`,

    gain = (won - lost) / n,    error^2 = (1 / (n - 1)) (mean_i d_i^2 - gain^2),
    d_i = hit_i - hit'_i,

which is the standard error of a mean of paired differences; that of losses is the same with d_i =
loss_i - loss'_i. Whether a gain is more than chance is McNemar's question (1947, "Note on the
sampling error of the difference between correlated proportions or percentages", Psychometrika 12):
of the won + lost examples on which the two disagree, is half won? The p-value is that of z = |won -
lost| / sqrt(won + lost), and below FEW such examples that of the binomial distribution itself. Of
other scores it is that of Student's t = gain / error with n - 1 degrees of freedom. If answers
cannot be paired the error is sqrt(e^2 + e'^2), that of two independent test sets.

Ensembles and pools are networks here: their answers are collected as those of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from onefold.errors import SettingError
from onefold.finite import finite
from onefold.tasks.answers import mean_error
from onefold.tasks.score import ACCURACY, Score
from onefold.tasks.scores import Scores

# discordant answers: below, the normal distribution is no good stand-in for the binomial one
FEW = 25
ONE_ERROR = math.erfc(1 / math.sqrt(2))  # the p-value of one standard error, 0.317
TWO_ERRORS = math.erfc(2 / math.sqrt(2))  # the p-value of two standard errors, 0.0455
ALIKE = 1e-5  # relative difference of losses that rounding explains


@dataclass(frozen=True)
class Difference:
    """One network's scores less another's.

    Attributes:
        gain: of the scores that decide; above 0 if the first is better, whatever their direction. A
            fraction of 1 for shares.
        error: the standard error of the gain; NaN if it is not known.
        loss: of mean losses; below 0 if the first is better.
        loss_error: the standard error of the loss; NaN unless `paired` and finite.
        won: examples that only the first answers rightly; 0 unless single answers are `paired`.
        lost: examples that only the second answers rightly; 0 as above.
        p: the probability of a gain as far from 0 as this one if neither is better.
        n: examples of the first.
        paired: whether the two were compared example by example.
        same: whether every answer is right in both or wrong in both, and of equal loss up to
            rounding.
        why: why the two were not paired; "" if they were.
        kind: the score that was compared.
        single: whether its examples are right or wrong, so that they are won or lost.
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
    kind: Score = ACCURACY
    single: bool = True

    @property
    def clear(self) -> bool:
        """Whether chance gives such a gain as rarely as two standard errors, or more rarely."""
        return self.gain != 0 and self.p <= TWO_ERRORS

    @property
    def leads(self) -> bool:
        """Whether the first is ahead, and chance gives that as rarely as one standard error."""
        return self.gain > 0 and self.p <= ONE_ERROR

    @property
    def level(self) -> bool:
        """Whether nothing tells the two apart: no gain and no answers won or lost."""
        return self.paired and self.gain == 0 and not self.won and not self.lost

    @property
    def shown(self) -> str:
        """The gain with its sign and unit; of a score of which less is better, too, + is a gain."""
        return self.kind.difference(self.gain)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not finite becomes a word."""
        told = {name: finite(value) for name, value in vars(self).items() if name != "kind"}
        return {**told, "score": self.kind.name}

    def __str__(self) -> str:
        return f"{self.shown}, {self.errors}"

    @property
    def errors(self) -> str:
        """The standard error, and how the two were compared, in words."""
        error = (
            "standard error unknown"
            if math.isnan(self.error)
            else f"standard error {self.kind.scale * self.error:.{self.kind.digits}f}"
        )
        if not self.paired:
            return f"{error}, unpaired, as {self.why}"
        if self.single:
            return f"{error}, {self.won} answers gained and {self.lost} lost"
        return f"{error}, paired over {self.n} examples"


def difference(first: Scores, second: Scores) -> Difference:
    """The first network's scores less the second's.

    They are paired if both were taken on the same examples in one order: as many examples of the
    same labels in the same order. Should two data sets agree in that by chance, their pairs are
    independent, and the paired error is that of independent test sets.

    Raises:
        SettingError: another score decides in each.
    """
    if first.by != second.by:
        raise SettingError(
            f"The first is scored by {first.by} and the second by {second.by}; score both alike."
        )
    kind = first.kind
    gain, loss = kind.better(first.primary) - kind.better(second.primary), first.loss - second.loss
    if first.primary == second.primary:
        gain = 0.0  # both may be infinite
    why = _unpaired(first, second)
    if why or first.answers is None or second.answers is None:
        error = math.hypot(first.error, second.error)
        p = _p_of(gain, error, first.n, normal=True)
        return Difference(
            gain, error, loss, math.nan, 0, 0, p, first.n, paired=False, why=why, kind=kind
        )
    mine, other = first.answers, second.answers
    single = mine.single and other.single
    won = int((mine.hits & ~other.hits).sum()) if single else 0
    lost = int((other.hits & ~mine.hits).sum()) if single else 0
    steps = mine.hits.double() - other.hits.double()
    # Equal losses differ by 0, infinite ones too.
    losses = torch.where(
        mine.losses == other.losses, 0.0, mine.losses.double() - other.losses.double()
    )
    rounding = ALIKE * (1 + torch.minimum(mine.losses, other.losses).double())
    level = not won and not lost if single else bool((steps == 0).all())
    same = level and bool(((losses == 0) | (losses.abs() <= rounding)).all())
    error = mean_error(steps)
    return Difference(
        (won - lost) / first.n if single else gain,
        error,
        float(losses.mean()) if single else loss,
        mean_error(losses),
        won,
        lost,
        sign_test(won, lost) if single else _p_of(gain, error, first.n),
        first.n,
        same=same,
        kind=kind,
        single=single,
    )


def _p_of(gain: float, error: float, n: int, *, normal: bool = False) -> float:
    """The two-sided p-value of a gain with its standard error.

    It is 1 if the error is not known, and 0 for a gain that is infinite.
    """
    if math.isinf(gain):
        return 0.0
    if math.isnan(error) or math.isnan(gain):
        return 1.0
    if error == 0:
        return float(gain == 0)
    if normal or n < 2:
        return math.erfc(abs(gain) / error / math.sqrt(2))
    from scipy.special import stdtr

    return float(2 * stdtr(n - 1, -abs(gain) / error))


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
    if bool(first.answers.hits.double().isnan().any() | second.answers.hits.double().isnan().any()):
        return "what single examples contribute to this score is not known"
    return ""


__all__ = ["Difference", "difference", "mean_error", "sign_test"]
