"""The task of the members, told before anything slow: by its name, or by the labels of a batch."""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from onefold.batches import Batch
from onefold.ensemble.names import EnsembleName
from onefold.ensemble.pool import ClassPool
from onefold.errors import DataError, SettingError
from onefold.inference import Output, run
from onefold.inference.running import eval_mode
from onefold.tasks import Scoring, Task
from onefold.tasks.class_reading import ClassReader


def told_task(
    model: nn.Module, batch: Batch, output: Output, scoring: Scoring, *, needed: bool
) -> Task | None:
    """The task: as named, or told by the labels of a batch; None if neither tells it.

    Args:
        model: one of the members.
        batch: on its device.
        output: which output is meant.
        scoring: which may name the task.
        needed: labels that tell no task are an error.

    Raises:
        DataError: they are.
    """
    if scoring.named is not None:
        scoring.check(scoring.named)
        return scoring.named
    if not needed and (batch.labels is None or batch.unusable):
        return None
    try:
        return scoring.told(_value(model, batch, output), batch, output)
    except DataError:
        if needed:
            raise
        return None


def output_of(model: nn.Module, batch: Batch, output: Output, task: Task, todo: str) -> Output:
    """The output with the axis of its classes, if it has more axes than two and is of classes.

    Args:
        model: one of the members.
        batch: on its device.
        output: which output is meant.
        task: of the members.
        todo: what is done, as words for messages.

    Raises:
        DataError: the outputs are none of the task, or labels do not fit them.
    """
    value = _value(model, batch, output)
    reader = task.reader(output, todo)
    values = reader.values(value, batch)
    if batch.labels is not None and not batch.unusable:
        reader.targets(values, batch)
    if isinstance(reader, ClassReader) and value.dim() > 2:
        return dataclasses.replace(output, class_axis=reader.axis_in(value))
    return output


def check_goal(goal: EnsembleName | ClassPool | None, task: Task) -> None:
    """Refuse an ensemble that the task has not.

    Raises:
        SettingError: as said.
    """
    if isinstance(goal, ClassPool) or goal == "classes":
        if not task.classes:
            raise SettingError(
                f"A pool of classes is for classifiers, and the task is {task.name}; leave out"
                " `ensemble`."
            )
    elif goal is not None:
        task.default_mean(goal)


def _value(model: nn.Module, batch: Batch, output: Output) -> Tensor:
    with eval_mode([model]):
        return run(model, batch, output)


__all__ = ["check_goal", "output_of", "told_task"]
