"""The outputs of several networks on the same examples, read in one pass.

The task says how they are read, if it is named or if labels tell it. Else they are scores of
classes if something says on which axis the classes lie (`class_axis.py` in `inference`). If nothing
does they are numbers, as a regressor's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onefold.batches import Batch, Data
from onefold.errors import DataError
from onefold.inference import ClassAxis, Output
from onefold.inference.running import eval_mode, outputs_of
from onefold.sources import on_disk
from onefold.tasks.base import Task
from onefold.tasks.classification import Classification
from onefold.tasks.regression import Regression
from onefold.tasks.telling import tell_task

EXAMPLES = 5000  # enough to tell shares of classes to half a point
VALUES = 2**26  # numbers kept over all networks, of more rows every second or third: 256 MiB
TODO = "telling what networks know"
CLASSES, NUMBERS = Classification(), Regression()


@dataclass(frozen=True, eq=False)
class Predictions:
    """What K networks put out on the same examples.

    Attributes:
        rows: for each network a float32 tensor on the CPU: logits (n, C) of classes, or (n, D)
            numbers of another task.
        classes: whether they are scores of classes.
        examples: how many examples were read; an example may have several rows.
        task: of the networks, if it is known.
    """

    rows: tuple[Tensor, ...]
    classes: bool
    examples: int
    task: Task | None = None

    @property
    def asked(self) -> Task:
        """The task; one that is not known is that of classes, or of numbers."""
        return self.task or (CLASSES if self.classes else NUMBERS)

    @property
    def finite(self) -> list[bool]:
        """For each network, whether all that it puts out is finite."""
        return [bool(torch.isfinite(own).all()) for own in self.rows]


def read_predictions(
    models: Sequence[nn.Module],
    data: Data,
    output: Output,
    also: Sequence[nn.Module] = (),
    task: Task | None = None,
) -> Predictions:
    """Run all networks on the data, up to EXAMPLES examples or VALUES numbers.

    Args:
        models: the networks; of networks on disk one is in memory at a time, and the data must come
            in one order.
        data: batches; labels are read for their shape, and to tell the task.
        output: which output is meant.
        also: further networks in memory; their outputs come last.
        task: of the networks; None: as labels tell, or as the shapes do.

    Raises:
        DataError: the data is empty, a network cannot run on it, or its outputs are none of the
            task.
        MembersError: the networks' outputs differ in shape.
    """
    if on_disk(models):
        first = _read(models, data, output, task)
        if not also:
            return first
        rest = _read(also, data, output, task)
        return Predictions((*first.rows, *rest.rows), first.classes, first.examples, first.task)
    return _read([*models, *also], data, output, task)


def _read(
    models: Sequence[nn.Module], data: Data, output: Output, task: Task | None
) -> Predictions:
    reading = _Reading(output, task)
    rows: list[list[Tensor]] = [[] for _ in models]
    examples, left = 0, VALUES
    with eval_mode(models):
        for outputs, batch in outputs_of(models, data, "Comparing", output):
            found = [reading.rows(own, batch) for own in outputs]
            count, width = found[0].shape
            step = max(1, math.ceil(count * width * len(models) / left))
            for kept, own in zip(rows, found, strict=True):
                kept.append(own[::step].detach().float().cpu())
            examples += batch.size
            left -= sum(kept[-1].numel() for kept in rows)
            if examples >= EXAMPLES or left <= 0:
                break
    joined = tuple(torch.cat(own) for own in rows)
    return Predictions(joined, reading.classes, examples, reading.task)


class _Reading:
    """Reads outputs as rows (n, D); the first batch decides of what they are."""

    def __init__(self, output: Output, task: Task | None) -> None:
        self._output, self.task = output, task
        self._axis = ClassAxis(output, TODO)
        self._begun, self.classes = False, False

    def rows(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The rows of one network on a batch."""
        if not self._begun:
            self._begin(outputs, batch)
        if self.task is not None:
            values = self._reader.values(outputs, batch)
        elif self.classes:
            values = self._axis.last(outputs, batch.labels)
        else:
            values = outputs.reshape(len(outputs), -1)
        return values.reshape(-1, values.shape[-1])

    def _begin(self, outputs: Tensor, batch: Batch) -> None:
        self._begun = True
        if self.task is None and batch.labels is not None:
            with suppress(DataError):
                self.task = tell_task(outputs, batch, self._output)
        if self.task is not None:
            self._reader = self.task.reader(self._output, TODO)
            self.classes = self.task.classes
            return
        with suppress(DataError):
            self._axis.of(outputs, batch.labels)
            self.classes = True


__all__ = ["CLASSES", "NUMBERS", "Predictions", "read_predictions"]
