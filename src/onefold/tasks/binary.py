"""Tasks of yes or no: one logit for each example or position, or one for each of several labels.

    loss         -log sigmoid(z) if yes, -log sigmoid(-z) if no; of several labels their mean
    mean         the logit of (1/K) sum_k sigmoid(z_k), or the mean of z_k
    divergence   T^2 KL(q || sigmoid(z / T)),    q = sigmoid(g / T) of the ensemble's logits g

A yes is answered where z > 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from onefold.batches import Batch
from onefold.errors import DataError
from onefold.inference import Output
from onefold.tasks.base import Bins, Reader, Tally, Targets, Task, tasks
from onefold.tasks.binary_tally import BinaryTally, MultilabelTally
from onefold.tasks.labels import labels_in, owners_of
from onefold.tasks.means import EnsembleMean, mean_of_binary, plain_mean
from onefold.tasks.score import ACCURACY, BRIER, ECE, NLL, Score
from onefold.tasks.temperature import best_scale

MARGIN = 0.02  # nats by which a network must be better than guessing
AUROC = Score("auroc", "AUROC", "%", scale=100, digits=2)
MAP = Score("mean_average_precision", "mAP", "%", scale=100, digits=2)
F1 = Score("f1", "micro F1", "%", scale=100, digits=2)


class OfYes(Task):
    """What tasks have whose numbers are logits of yes."""

    loss: ClassVar[str] = "nll"
    means: ClassVar[tuple[EnsembleMean, ...]] = ("probabilities", "logits", "outputs")

    def losses(self, values: Tensor, targets: Tensor) -> Tensor:
        """The binary cross-entropy of every row in nats; labels that are NaN do not count."""
        wanted = targets.to(values)
        known = ~wanted.isnan()
        found = functional.binary_cross_entropy_with_logits(
            values, wanted.nan_to_num(0.0), reduction="none"
        )
        total = (found * known).flatten(1).sum(1)
        return total / known.flatten(1).sum(1).clamp_min(1)

    def mean(self, values: Sequence[Tensor], kind: EnsembleMean) -> Tensor:
        """The logits of the mean probabilities, or the mean of logits."""
        return mean_of_binary(values) if kind == "probabilities" else plain_mean(values)

    def aim(self, values: Tensor, temperature: float) -> Tensor:
        """The logits at the temperature."""
        return values / temperature

    def divergence(self, values: Tensor, aim: Tensor, temperature: float) -> Tensor:
        """The mean over rows of the sum of KL divergences, in nats, times the temperature squared.

        Computed in float32.
        """
        ours, theirs = values.float() / temperature, aim.float()
        yes = theirs.sigmoid()
        gap = yes * (functional.logsigmoid(theirs) - functional.logsigmoid(ours))
        gap = gap + (1 - yes) * (functional.logsigmoid(-theirs) - functional.logsigmoid(-ours))
        return gap.sum() / aim[..., 0].numel() * temperature**2

    def told(self, values: Tensor) -> Tensor:
        """Probabilities of yes."""
        return values.sigmoid()

    def calibrated(self, values: Tensor, targets: Tensor) -> Tensor:
        """Logits (r, D) / T in float64, of the least mean cross-entropy."""
        return best_scale(values, lambda scaled: self.losses(scaled, targets).mean())

    def useless(self, values: Tensor, targets: Tensor) -> str:
        """Whether no temperature makes it better than a coin, label by label."""
        best = float(self.losses(values, targets).mean())
        if best < math.log(2) - MARGIN:
            return ""
        return (
            f"is no better than guessing at any temperature (loss {best:.2f}, guessing"
            f" {math.log(2):.2f} nats, of which it must be {MARGIN} below)"
        )


@tasks.register("binary")
class Binary(OfYes):
    """Yes or no by one logit for each example or position; labels are 0 and 1, below 0 is none."""

    name: ClassVar[str] = "binary"
    scores: ClassVar[tuple[Score, ...]] = (ACCURACY, AUROC, NLL, ECE, BRIER)

    def answers(self, values: Tensor) -> Tensor:
        """1 for yes and 0 for no."""
        single = values.squeeze(-1)
        return (single > 0).long().masked_fill(~single.isfinite(), -1)

    def reader(self, output: Output, todo: str) -> Reader:
        """A reader of single logits."""
        return OneLogit(output, todo)

    def tally(self, bins: Bins) -> Tally:
        """An empty tally."""
        return BinaryTally(bins)


class OneLogit(Reader):
    """Reads logits (N, ...) with labels (N, ...); an axis of length 1 may be left out."""

    def values(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The logits (N, ..., 1)."""
        return outputs.reshape(*one_number(outputs, self.output, batch), 1)

    def back(self, values: Tensor, outputs: Tensor) -> Tensor:
        """Logits in the shape of the outputs."""
        return values.reshape(outputs.shape)

    def judged(self, told: Tensor, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Probabilities in the shape of the labels, which are whole."""
        labels = labels_in(batch)
        return told.reshape(labels.shape), whole(labels)

    def targets(self, values: Tensor, batch: Batch) -> Targets:
        """0 and 1 as numbers (r, 1)."""
        labels, shape = labels_in(batch), values.shape[:-1]
        if labels.numel() != math.prod(shape) or len(labels.reshape(-1)) == 0:
            raise DataError(
                f"The labels of batch {batch.index} have shape {tuple(labels.shape)}, but there is"
                f" one logit for each of {tuple(shape)}; give a label for each."
            )
        wanted = labels.reshape(shape)
        missing = wanted.isnan() if wanted.is_floating_point() else wanted < 0
        if not wanted.is_floating_point() and wanted.dtype != torch.bool:
            missing |= wanted == 255
        check_yes(wanted[~missing], batch)
        ignored = int(missing.sum())
        kept = ~missing if ignored else None
        found = (wanted if kept is None else wanted[kept]).reshape(-1, 1).double().cpu()
        owners = owners_of(wanted, kept) if wanted.dim() > 1 else None
        return Targets(found, kept, owners, len(wanted), ignored)


@tasks.register("multilabel")
class Multilabel(OfYes):
    """Several labels at once, a logit for each; labels are 0 and 1, NaN and below 0 is none."""

    name: ClassVar[str] = "multilabel"
    scores: ClassVar[tuple[Score, ...]] = (MAP, F1, NLL)

    def reader(self, output: Output, todo: str) -> Reader:
        """A reader of a logit for each label."""
        return LogitPerLabel(output, todo)

    def tally(self, bins: Bins) -> Tally:
        """An empty tally."""
        return MultilabelTally()


class LogitPerLabel(Reader):
    """Reads logits (N, L) with labels (N, L)."""

    def values(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The logits (N, L)."""
        if outputs.dim() != 2:
            raise DataError(
                f"The outputs have shape {tuple(outputs.shape)} of batch {batch.index}; {self.todo}"
                " with several labels needs a logit for each, (N, L)."
            )
        return outputs

    def back(self, values: Tensor, outputs: Tensor) -> Tensor:
        """The logits as they are."""
        return values

    def judged(self, told: Tensor, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Probabilities (N, L), and whole labels."""
        return told, whole(labels_in(batch))

    def targets(self, values: Tensor, batch: Batch) -> Targets:
        """0, 1 and NaN as numbers (N, L)."""
        labels = labels_in(batch)
        if labels.shape != values.shape:
            raise DataError(
                f"The labels of batch {batch.index} have shape {tuple(labels.shape)} but the logits"
                f" {tuple(values.shape)}; give 0 or 1 for each of them."
            )
        wanted = labels.double().cpu()
        wanted = wanted.masked_fill(wanted < 0, torch.nan)
        missing = wanted.isnan()
        check_yes(wanted[~missing], batch)
        kept, ignored = ~missing.all(1), int(missing.sum())
        if bool(kept.all()):
            return Targets(wanted, ignored=ignored)
        return Targets(wanted[kept], kept, ignored=ignored)


def one_number(outputs: Tensor, output: Output, batch: Batch) -> tuple[int, ...]:
    """The shape of outputs without the axis of length 1 that stands for the one number.

    That is the class axis if it is said, else the second axis, else the last; outputs of one axis
    have none.

    Raises:
        DataError: there are several numbers.
    """
    shape = tuple(outputs.shape)
    if len(shape) < 2:
        return shape
    labels = None if batch.labels is None else tuple(batch.labels.shape)
    if labels == shape and 1 not in shape[1:]:
        return shape
    axes = [1, len(shape) - 1] if output.class_axis is None else [output.class_axis % len(shape)]
    for axis in axes:
        if shape[axis] == 1:
            return shape[:axis] + shape[axis + 1 :]
    raise DataError(
        f"The outputs have shape {shape} of batch {batch.index}, several numbers for each example;"
        " a binary classifier puts out one logit, so say task='classification' or"
        " task='multilabel'."
    )


def whole(labels: Tensor) -> Tensor:
    """Labels of yes and no as int64, as metrics take them; -1 for NaN."""
    return labels.nan_to_num(-1.0).long() if labels.is_floating_point() else labels.long()


def check_yes(labels: Tensor, batch: Batch) -> None:
    """Refuse labels that are neither 0 nor 1.

    Raises:
        DataError: as said.
    """
    wrong = (labels != 0) & (labels != 1)
    if bool(wrong.any()):
        found = float(labels[wrong][0])
        raise DataError(
            f"A label of batch {batch.index} is {found:g}; labels of yes or no are 0 and 1, and"
            " other numbers are of another task, as task='regression'."
        )


__all__ = ["Binary", "Multilabel"]
