"""Tasks whose rows are logits of classes of which one is right.

    loss         -log p_y,    p = softmax(z);    for soft labels t   -sum_c t_c log p_c
    mean         log (1/K) sum_k softmax(z_k), or the mean of z_k
    divergence   T^2 KL(q || softmax(z / T)),    q = softmax(g / T) of the ensemble's logits g

Classification has one row for each example. Segmentation and token classification have one for each
position that has a label; its examples are the images and the series.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from onefold.inference import Output
from onefold.inference.outputs import broken_rows
from onefold.tasks.base import Bins, Reader, Tally, Task, tasks
from onefold.tasks.class_reading import ClassReader
from onefold.tasks.class_tally import ClassTally
from onefold.tasks.dense_tally import DenseTally
from onefold.tasks.means import EnsembleMean, mean_of_classes, plain_mean
from onefold.tasks.score import ACCURACY, BRIER, ECE, NLL, Score
from onefold.tasks.temperature import best_scale

MARGIN = 0.05  # nats by which a network must be better than guessing
MEAN_IOU = Score("mean_iou", "mean IoU", "%", scale=100, digits=2)


class OfClasses(Task):
    """What all tasks have whose rows are logits of classes."""

    scores: ClassVar[tuple[Score, ...]] = (ACCURACY, NLL, ECE, BRIER)
    loss: ClassVar[str] = "nll"
    means: ClassVar[tuple[EnsembleMean, ...]] = ("probabilities", "logits", "outputs")
    classes: ClassVar[bool] = True
    axis: ClassVar[int | None] = None  # of the classes, where nothing else tells it

    def reader(self, output: Output, todo: str) -> Reader:
        """A reader of logits with class numbers."""
        return ClassReader(output, todo, self.axis)

    def tally(self, bins: Bins) -> Tally:
        """An empty tally."""
        return ClassTally(bins)

    def losses(self, values: Tensor, targets: Tensor) -> Tensor:
        """The cross-entropy of every row, in nats."""
        return functional.cross_entropy(
            values, targets.to(_kind(targets, values)), reduction="none"
        )

    def mean_loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy, in nats; the mean of a subclass' own losses, if it has some."""
        if type(self).losses is not OfClasses.losses:
            return super().mean_loss(values, targets)
        return functional.cross_entropy(values, targets.to(_kind(targets, values)))

    def mean(self, values: Sequence[Tensor], kind: EnsembleMean) -> Tensor:
        """Log-probabilities of the mean probabilities, or the mean of logits."""
        return mean_of_classes(values) if kind == "probabilities" else plain_mean(values)

    def aim(self, values: Tensor, temperature: float) -> Tensor:
        """The log-probabilities at the temperature."""
        return torch.log_softmax(values / temperature, -1)

    def divergence(self, values: Tensor, aim: Tensor, temperature: float) -> Tensor:
        """The mean KL divergence in nats, times the square of the temperature, in float32."""
        ours = torch.log_softmax(values.float() / temperature, -1)
        summed = functional.kl_div(ours, aim, log_target=True, reduction="sum")
        return summed / aim[..., 0].numel() * temperature**2

    def told(self, values: Tensor) -> Tensor:
        """Log-probabilities, which metrics take as logits."""
        return values.log_softmax(-1)

    def answers(self, values: Tensor) -> Tensor:
        """The class of the highest logit."""
        return values.argmax(-1).masked_fill(broken_rows(values), -1)

    def calibrated(self, values: Tensor, targets: Tensor) -> Tensor:
        """Logits (r, C) / T in float64, of the least mean cross-entropy."""
        return best_scale(values, lambda scaled: self.losses(scaled, targets).mean())

    def useless(self, values: Tensor, targets: Tensor) -> str:
        """Whether no temperature makes it better than guessing."""
        best = float(self.losses(values, targets).mean())
        guess = math.log(values.shape[-1])
        if best < guess - MARGIN:
            return ""
        return (
            f"is no better than guessing at any temperature (loss {best:.2f}, guessing"
            f" {guess:.2f} nats, of which it must be {MARGIN} below)"
        )


def _kind(targets: Tensor, values: Tensor) -> torch.dtype:
    return values.dtype if targets.is_floating_point() else torch.long


@tasks.register("classification")
class Classification(OfClasses):
    """One class for each example; labels are class numbers, one-hot rows or soft rows."""

    name: ClassVar[str] = "classification"


@tasks.register("segmentation")
class Segmentation(OfClasses):
    """One class for each position of an image or volume; labels 255 and below 0 do not count."""

    name: ClassVar[str] = "segmentation"
    scores: ClassVar[tuple[Score, ...]] = (MEAN_IOU, ACCURACY, NLL, ECE, BRIER)
    axis: ClassVar[int | None] = 1

    def tally(self, bins: Bins) -> Tally:
        """An empty tally that counts overlaps."""
        return DenseTally(bins, overlaps=True)


@tasks.register("token_classification")
class TokenClassification(OfClasses):
    """One class for each token of a series; labels below 0, as of padding, do not count."""

    name: ClassVar[str] = "token_classification"
    axis: ClassVar[int | None] = -1

    def tally(self, bins: Bins) -> Tally:
        """An empty tally by series."""
        return DenseTally(bins, overlaps=False)


__all__ = ["Classification", "OfClasses", "Segmentation", "TokenClassification"]
