"""The tally of numbers: errors, and the variance of the labels.

    RMSE = sqrt(mean (f - y)^2),    MAE = mean |f - y|,    R2 = 1 - sum (f - y)^2 / sum (y - m)^2

m is the mean of each number's labels. Where batches have different numbers of numbers, as series of
different lengths, it is the mean of all labels. R2 is NaN for labels that do not vary.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from onefold.tasks.answers import Answers, Fingerprint, contributions
from onefold.tasks.base import Counted, Rows, Tally
from onefold.tasks.chance import InputFacts
from onefold.tasks.class_tally import check_count

KEPT = 64  # numbers of an example whose labels are kept
STILL = 1e-14  # of the size of the labels: they vary by no more than rounding

SQUARES: dict[str, Callable[[Tensor], Tensor]] = {  # of the means of an example's numbers
    "rmse": lambda mean: (mean[0] / mean[2]).sqrt(),
    "mae": lambda mean: mean[1] / mean[2],
    "r2": lambda mean: 1 - mean[0] / mean[3],
    "mse": lambda mean: mean[0] / mean[2],
}


class NumberTally(Tally):
    """Adds up errors, with three numbers for each example.

    The labels of up to KEPT numbers are kept, as the examples contribute to their variance. Of more
    numbers R2 has no contributions.
    """

    def __init__(self) -> None:
        self._numbers: list[Tensor] = []
        self._spread = Spread()
        self._fingerprint = Fingerprint()
        self._ignored = self._broken = 0

    def add(self, rows: Rows) -> None:
        """Add outputs (n, D) with labels (n, D)."""
        self._ignored += rows.ignored
        values, wanted = rows.values.cpu().double(), rows.targets.cpu()
        known = ~wanted.isnan()
        broken = (~values.isfinite() & known).any(1)
        gap = torch.where(known, values - wanted, 0.0).masked_fill(broken.unsqueeze(1), torch.inf)
        square, size = gap.square().sum(1), gap.abs().sum(1)
        self._numbers.append(torch.stack([square, size, known.double().sum(1)], 1))
        self._broken += int(broken.sum())
        if len(wanted):
            self._spread.add(wanted)
        self._fingerprint.add(wanted.nan_to_num(0.0))

    def counted(self, by: str, facts: InputFacts | None = None) -> Counted:
        """The scores of all that was added, paired by example."""
        check_count(sum(map(len, self._numbers)), self._ignored)
        numbers = torch.cat(self._numbers)
        spread, own_spread = self._spread.of_examples(len(numbers))
        told = own_spread is not None and spread > 0
        if own_spread is None:
            own_spread = torch.full((len(numbers),), spread / len(numbers), dtype=torch.float64)
        numbers = torch.cat([numbers, own_spread.unsqueeze(1)], 1)
        values = {name: float(score(numbers.mean(0))) for name, score in SQUARES.items()}
        if spread == 0:
            values["r2"] = math.nan
        own = torch.full((len(numbers),), torch.nan, dtype=torch.float64)
        if by in SQUARES and (by != "r2" or told):
            own = contributions(numbers, SQUARES[by])[1]
        losses = (numbers[:, 0] / numbers[:, 2]).float()
        answers = Answers(own, losses, str(self._fingerprint))
        return Counted(values, len(numbers), answers, self._broken)


class Spread:
    """The sum of squares of labels about their means, and each example's part of it."""

    def __init__(self) -> None:
        self._origin: Tensor | None = None  # near the means, so that no digits are lost
        self._sums = torch.zeros(3, 0, dtype=torch.float64)
        self._labels: list[Tensor] | None = []
        self._pooled = False

    def add(self, wanted: Tensor) -> None:
        """Add labels (n, D), n > 0; NaN for those that are missing."""
        width = wanted.shape[1]
        if self._origin is None:
            self._origin = wanted.nanmean(0).nan_to_num(0.0)
            self._sums = torch.zeros(3, width, dtype=torch.float64)
        if not self._pooled and width != len(self._origin):
            self._pool()
        gaps = wanted - self._origin
        known, gap = ~gaps.isnan(), gaps.nan_to_num(0.0)
        found = torch.stack([known.double().sum(0), gap.sum(0), gap.square().sum(0)])
        self._sums += found.sum(1, keepdim=True) if self._pooled else found
        if self._labels is not None and width <= KEPT:
            self._labels.append(gaps)
        else:
            self._labels = None

    def _pool(self) -> None:
        """Go on with all numbers as one, about one mean."""
        assert self._origin is not None
        count, total, squares = self._sums
        middle = (total + count * self._origin).sum() / count.sum().clamp_min(1)
        step = self._origin - middle
        moved = [count, total + count * step, squares + 2 * step * total + count * step.square()]
        self._sums = torch.stack(moved).sum(1, keepdim=True)
        self._origin, self._labels, self._pooled = middle.reshape(1), None, True

    def of_examples(self, count: int) -> tuple[float, Tensor | None]:
        """The sum, 0 for labels that do not vary, and the parts (n,) if labels were kept.

        Args:
            count: n.
        """
        assert self._origin is not None
        known, total, squares = self._sums
        centre = total / known.clamp_min(1)
        parts = None
        if self._labels is not None:
            parts = (torch.cat(self._labels) - centre).nan_to_num(0.0).square().sum(1)
        spread = float((squares - total * centre).sum() if parts is None else parts.sum())
        still = STILL * float((self._origin + centre).abs().max())
        return (spread if spread > count * still**2 else 0.0), parts


__all__ = ["NumberTally"]
