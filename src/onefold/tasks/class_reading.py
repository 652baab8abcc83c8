"""Outputs of classes as rows: the axis of the classes goes last, labels become class numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from onefold.batches import Batch
from onefold.errors import DataError
from onefold.inference import ClassAxis, Output, class_axes
from onefold.tasks.base import Reader, Targets
from onefold.tasks.labels import class_targets, labels_in

SUM = 1e-3  # how far the sum of a soft label's probabilities may be from 1


class ClassReader(Reader):
    """Reads logits (N, C), (N, C, ...) or (N, ..., C) with class numbers (N, ...).

    Labels may also be probabilities of the classes, in the shape of logits (N, C): one-hot ones
    and soft ones.

    Args:
        output: which output is meant, and where its classes lie.
        todo: what is done, for messages.
        axis: the axis of the classes where neither labels nor `output` tell it; None for none.
    """

    def __init__(self, output: Output, todo: str, axis: int | None = None) -> None:
        super().__init__(output, todo)
        self._axis, self._usual = ClassAxis(output, todo), axis

    def values(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The logits (N, ..., C)."""
        return outputs.movedim(self._axis_of(outputs, batch), -1)

    def back(self, values: Tensor, outputs: Tensor) -> Tensor:
        """Logits (N, ..., C) in the axes of the outputs."""
        return values.movedim(-1, self._last)

    def targets(self, values: Tensor, batch: Batch) -> Targets:
        """The class numbers, or the probabilities, of a batch."""
        labels, classes = labels_in(batch), values.shape[-1]
        if is_soft(labels, values):
            return _soft(labels, batch)
        return class_targets(labels, values.shape[:-1], classes)

    def axis_in(self, outputs: Tensor) -> int:
        """The axis of the classes in outputs as they were last read; from the end if it is last."""
        return -1 if self._last == outputs.dim() - 1 else self._last

    def _axis_of(self, outputs: Tensor, batch: Batch) -> int:
        labels, where = batch.labels, f" of batch {batch.index}"
        if labels is not None and outputs.dim() == 2 and is_soft(labels, outputs):
            labels = None
        if self._usual is not None and self.output.class_axis is None and outputs.dim() > 2:
            fits = [] if labels is None else class_axes(tuple(outputs.shape), tuple(labels.shape))
            usual = self._usual % outputs.dim()
            self._last = usual if usual in fits or not fits else fits[0]
            if outputs.shape[self._last] < 2:
                self._axis.of(outputs, labels, where=where)  # says what is wrong
            return self._last
        self._last = self._axis.of(outputs, labels, scored=labels is not None, where=where)
        return self._last


def is_soft(labels: Tensor, logits: Tensor) -> bool:
    """Whether labels are probabilities of the classes, one row for each of logits (N, C)."""
    return labels.shape == logits.shape and labels.dim() == 2


def _soft(labels: Tensor, batch: Batch) -> Targets:
    """Rows of probabilities as targets.

    Raises:
        DataError: a row is negative somewhere or does not sum to 1.
    """
    rows = labels.double()
    wrong = (rows < 0).any(-1) | ((rows.sum(-1) - 1).abs() > SUM) | ~rows.isfinite().all(-1)
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        raise DataError(
            f"The labels of batch {batch.index} have the shape of the outputs,"
            f" {tuple(labels.shape)}, but example {first} has no probabilities that sum to 1, as in"
            " regression or with several classes at once; say task='regression' or"
            " task='multilabel', or give class numbers."
        )
    return Targets(rows)


def is_shifted(batch: Batch, labels: Tensor) -> bool:
    """Whether labels are the tokens of an input, as for a network that foretells the next one."""
    for value in (*batch.args, *batch.kwargs.values()):
        if not isinstance(value, Tensor) or value.is_floating_point():
            continue
        if value.shape == labels.shape and value.dim() == 2:
            said = labels >= 0
            if bool(said.any()) and torch.equal(value[said].long(), labels[said].long()):
                return True
    return False


__all__ = ["ClassReader", "is_shifted", "is_soft"]
