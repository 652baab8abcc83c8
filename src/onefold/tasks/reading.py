"""Outputs on labelled batches as rows of a task, through all of a training.

The first labelled batch tells the task, if it is not named. What it tells holds for all others.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from onefold.batches import Batch
from onefold.inference import Output
from onefold.tasks.base import Reader, Rows, Targets, Task
from onefold.tasks.class_reading import ClassReader
from onefold.tasks.score import Score
from onefold.tasks.scoring import Scoring

NATS = "nats"


class Reading:
    """Reads the outputs of networks of one task.

    Args:
        scoring: names the task, or leaves it to the first labelled batch.
        output: which output is meant, and where its classes lie.
        todo: what is done, as words before "needs two classes or more".

    Attributes:
        scoring: at the task, once it is told.
        output: with the axis of the classes, once it is told.
        task: None before it is told.
    """

    def __init__(self, scoring: Scoring, output: Output, todo: str) -> None:
        self.scoring, self.output, self._todo = scoring, output, todo
        self.task: Task | None = scoring.named
        if self.task is not None:
            scoring.check(self.task)
        self._reader: Reader | None = None
        self._like: tuple[Tensor, tuple[int, ...]] | None = None

    @property
    def told(self) -> Task:
        """The task.

        Raises:
            RuntimeError: no labelled batch was read yet.
        """
        if self.task is None:
            raise RuntimeError("no batch has told the task")
        return self.task

    @property
    def kind(self) -> Score:
        """The score that decides.

        Raises:
            RuntimeError: as `told`.
        """
        task = self.told
        name = self.scoring.by or task.scores[0].name
        return next(one for one in self.scoring.kinds(task) if one.name == name)

    @property
    def reader(self) -> Reader:
        """The reader of the task.

        Raises:
            RuntimeError: as `told`.
        """
        if self._reader is None:
            self._reader = self.told.reader(self.output, self._todo)
        return self._reader

    def values(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The outputs (N, ..., D) of a labelled batch with the numbers of a row on the last axis.

        Raises:
            DataError: they are none of the task, or tell none.
        """
        if self.task is None:
            self.task = self.scoring.told(outputs, batch, self.output)
            self.scoring = self.scoring.at(self.task)
        values = self.reader.values(outputs, batch)
        if self._like is None and batch.labels is not None:
            self._like = values[:1].detach(), tuple(batch.labels.shape[1:])
            if isinstance(self.reader, ClassReader) and outputs.dim() > 2:
                self.output = replace(self.output, class_axis=self.reader.axis_in(outputs))
        return values

    def targets(self, values: Tensor, batch: Batch) -> Targets:
        """The labels of a batch as targets for values.

        Raises:
            DataError: they do not fit.
        """
        return self.reader.targets(values, batch)

    def rows(self, outputs: Tensor, batch: Batch) -> Rows:
        """The rows of a network's outputs on a labelled batch.

        Raises:
            DataError: as `values` and `targets`.
        """
        values = self.values(outputs, batch)
        return self.targets(values, batch).rows(values)

    def check(self, batch: Batch) -> bool:
        """Refuse the labels of a further batch if they do not fit the first batch's outputs.

        Returns:
            Whether the labels could be checked without outputs. They cannot be if they are of
            another shape than those of the first batch, as of series of unequal length.

        Raises:
            DataError: they do not fit.
        """
        if self._like is None or batch.labels is None:
            return False
        like, shape = self._like
        if tuple(batch.labels.shape[1:]) != shape or not batch.labels.dim():
            return False
        self.targets(like.expand(len(batch.labels), *like.shape[1:]), batch)
        return True


def row_losses(task: Task, rows: Rows) -> Tensor:
    """The loss of every row (r,) in float32 or more, which can be differentiated."""
    return task.losses(_wide(rows.values), rows.targets)


def mean_loss(task: Task, rows: Rows) -> Tensor:
    """The mean loss (scalar) of rows, which can be differentiated.

    It is 0 where no label counts, as in a batch of padding alone.
    """
    if not len(rows.values):
        return rows.values.sum() * 0.0
    return task.mean_loss(_wide(rows.values), rows.targets)


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.element_size() < 4 else values


def in_nats(task: Task) -> bool:
    """Whether the task's loss is in nats, so that a share of one is the same for all data."""
    return task.kind(task.loss).unit == NATS


def tempered(task: Task) -> bool:
    """Whether outputs have a temperature at which their loss is least."""
    return type(task).calibrated is not Task.calibrated


__all__ = ["Reading", "in_nats", "mean_loss", "row_losses", "tempered"]
