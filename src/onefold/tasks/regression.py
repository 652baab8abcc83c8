"""Numbers: one or more for each example, of any shape.

    loss         mean over the numbers of an example of (f - y)^2
    mean         the mean of the outputs
    divergence   mean over rows and numbers of (f - g)^2, g the ensemble's outputs
    RMSE = sqrt(mean (f - y)^2),    MAE = mean |f - y|,    R2 = 1 - mean (f - y)^2 / var y

All numbers count alike. R2 is of all of them, with the variance of each number by itself. It is
NaN for labels that do not vary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from onefold.batches import Batch
from onefold.errors import DataError
from onefold.inference import Output
from onefold.tasks.base import Bins, Reader, Tally, Targets, Task, tasks
from onefold.tasks.labels import labels_in
from onefold.tasks.means import EnsembleMean, plain_mean
from onefold.tasks.number_tally import NumberTally
from onefold.tasks.score import Score

MARGIN = 0.01  # the share of the variance that a network must explain, if its outputs are rescaled
RMSE = Score("rmse", "RMSE", highest=False)
MAE = Score("mae", "MAE", highest=False)
R2 = Score("r2", "R²")
MSE = Score("mse", "MSE", highest=False)


@tasks.register("regression")
class Regression(Task):
    """Numbers of any shape, compared by squared error; labels that are NaN do not count."""

    name: ClassVar[str] = "regression"
    scores: ClassVar[tuple[Score, ...]] = (RMSE, MAE, R2, MSE)
    loss: ClassVar[str] = "mse"
    means: ClassVar[tuple[EnsembleMean, ...]] = ("outputs", "logits")
    distance: ClassVar[str] = "mean square"

    def reader(self, output: Output, todo: str) -> Reader:
        """A reader of numbers."""
        return Numbers(output, todo)

    def tally(self, bins: Bins) -> Tally:
        """An empty tally."""
        return NumberTally()

    def losses(self, values: Tensor, targets: Tensor) -> Tensor:
        """The mean squared error of every row; numbers that are NaN do not count."""
        wanted = targets.to(values)
        known = ~wanted.isnan()
        found = (values - wanted.nan_to_num(0.0)).square() * known
        return found.sum(1) / known.sum(1).clamp_min(1)

    def mean(self, values: Sequence[Tensor], kind: EnsembleMean) -> Tensor:
        """The mean of the outputs."""
        return plain_mean(values)

    def aim(self, values: Tensor, temperature: float) -> Tensor:
        """The outputs as they are; numbers have no temperature."""
        return values

    def divergence(self, values: Tensor, aim: Tensor, temperature: float) -> Tensor:
        """The mean squared difference, in float32."""
        return (values.float() - aim.float()).square().mean()

    def told(self, values: Tensor) -> Tensor:
        """The outputs as they are."""
        return values

    def guess(self, values: Tensor, targets: Tensor) -> Tensor:
        """The mean of the labels."""
        wanted = targets.to(values)
        return wanted.nanmean(0).nan_to_num(0.0).expand_as(values)

    def useless(self, values: Tensor, targets: Tensor) -> str:
        """Whether no scale and shift of its outputs explains a share of the variance."""
        explained = best_explained(values.double(), targets.to(values.device).double())
        if explained >= MARGIN:
            return ""
        return (
            "tells nothing of the labels: at its best scale and shift it explains"
            f" {100 * explained:.2f} % of their variance, of which it must explain"
            f" {100 * MARGIN:.0f} %"
        )


class Numbers(Reader):
    """Reads outputs of any shape with labels of that shape; axes of length 1 may be left out."""

    def values(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The outputs (N, D), all numbers of an example in one row."""
        self._axes = tuple(outputs.shape[1:])
        return outputs.reshape(len(outputs), -1) if outputs.dim() else outputs.reshape(1, 1)

    def back(self, values: Tensor, outputs: Tensor) -> Tensor:
        """Numbers in the shape of the outputs."""
        return values.reshape(outputs.shape)

    def judged(self, told: Tensor, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Numbers in the shape of the labels, and the labels."""
        labels = labels_in(batch)
        return told.reshape(labels.shape), labels

    def targets(self, values: Tensor, batch: Batch) -> Targets:
        """The numbers (N, D)."""
        labels = labels_in(batch)
        shape = (len(values), *self._axes)
        if labels.is_complex() or not labels.dim() or not alike(labels.shape, shape):
            raise DataError(
                f"The labels of batch {batch.index} have shape {tuple(labels.shape)}, but the"
                f" network puts out {values.shape[1]} numbers for each of {len(values)} examples,"
                f" in shape {shape}; give as many labels, in that shape."
            )
        wanted = labels.reshape(values.shape).double().cpu()
        if bool(wanted.isinf().any()):
            example = int(wanted.isinf().any(1).nonzero()[0])
            raise DataError(
                f"A label of example {example} of batch {batch.index} is infinite; drop it, or give"
                " NaN for a number that is missing."
            )
        missing = wanted.isnan()
        kept = ~missing.all(1)
        ignored = int(missing.sum())
        if bool(kept.all()):
            return Targets(wanted, ignored=ignored)
        return Targets(wanted[kept], kept, None, 0, ignored)


def alike(labels: Sequence[int], outputs: Sequence[int]) -> bool:
    """Whether labels have the shape of outputs, but for axes of length 1, or (N, D) flattened."""
    if tuple(labels[:1]) != tuple(outputs[:1]) or math.prod(labels) != math.prod(outputs):
        return False
    ours, theirs = ([size for size in shape[1:] if size != 1] for shape in (labels, outputs))
    return ours == theirs or min(len(ours), len(theirs)) == 1


def best_explained(values: Tensor, targets: Tensor) -> float:
    """The share of the variance of targets (n, D) that values explain at best scale and shift.

    That is the squared correlation of every number, weighted by its variance.
    """
    known = ~targets.isnan()
    total = explained = 0.0
    for column in range(values.shape[1]):
        own = known[:, column]
        x, y = values[own, column], targets[own, column]
        if len(y) < 2:
            continue
        x, y = x - x.mean(), y - y.mean()
        total += float(y.square().sum())
        if float(x.square().sum()) > 0:
            explained += float((x * y).sum() ** 2 / x.square().sum())
    return explained / total if total > 0 else 1.0


__all__ = ["Numbers", "Regression"]
