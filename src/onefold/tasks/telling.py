"""Which task outputs and labels are of, where nobody named it.

Read from one labelled batch:

| labels | outputs | task |
|---|---|---|
| whole (N,) | (N, C) | classification |
| probabilities (N, C) whose rows sum to 1 | (N, C) | classification |
| 0 and 1 (N, L), in other numbers | (N, L) | multilabel |
| whole (N, T), the tokens of an input | (N, T, V) | language modeling |
| whole (N, T) | (N, T, C) or (N, C, T) | token classification |
| whole (N, ...) of two axes more | (N, C, ...) or (N, ..., C) | segmentation |
| whole 0 and 1, one for each output | one number | binary |
| other numbers, one for each output | of any shape | regression |

What fits two of them is refused: labels 0.0 and 1.0 beside one number may be of either, and so may
numbers 0.0, or -1.0, 0.0 and 1.0, beside several.
"""

from __future__ import annotations

import torch
from torch import Tensor

from onefold.batches import Batch, labels_of
from onefold.errors import DataError
from onefold.inference import Output, class_axes
from onefold.tasks.base import Task, tasks
from onefold.tasks.class_reading import SUM, is_shifted
from onefold.tasks.labels import is_ignored


def tell_task(outputs: Tensor, batch: Batch, output: Output) -> Task:
    """The task that the outputs and labels of a batch are of.

    Args:
        outputs: of a network on the batch, the meant ones.
        batch: with labels.
        output: which output is meant, and where its classes lie.

    Raises:
        DataError: there are no labels, or they fit no task or two.
    """
    labels = labels_of(batch, "scores need them")
    if not outputs.is_floating_point():
        raise DataError(
            f"The outputs have dtype {str(outputs.dtype).removeprefix('torch.')}; scores need"
            " floating-point numbers, so choose another output by output=."
        )
    return tasks.get(_name(outputs, labels, batch, output))()


def _name(outputs: Tensor, labels: Tensor, batch: Batch, output: Output) -> str:
    shape, wanted = tuple(outputs.shape), tuple(labels.shape)
    whole = not labels.is_floating_point() and not labels.is_complex()
    if whole and _axes(shape, wanted, output):
        return _of_classes(labels, batch, len(wanted))
    if wanted == shape and len(shape) == 2 and shape[1] > 1:
        return _of_rows(labels, batch)
    if _one_each(shape, wanted):
        return _of_numbers(labels, batch, single=True)
    if wanted == shape or (labels.numel() == outputs.numel() and len(labels) == len(outputs)):
        return _of_numbers(labels, batch, single=False)
    raise DataError(_misfit(shape, labels, batch))


def _axes(shape: tuple[int, ...], labels: tuple[int, ...], output: Output) -> list[int]:
    """The axes of two classes or more without which the outputs are shaped as the labels."""
    if len(shape) < 2:
        return []
    axes = class_axes(shape, labels)
    if output.class_axis is not None:
        given = output.class_axis % len(shape)
        axes = [given] if shape[:given] + shape[given + 1 :] == labels else []
    return [axis for axis in axes if shape[axis] > 1]


def _of_classes(labels: Tensor, batch: Batch, axes: int) -> str:
    if axes == 1:
        return "classification"
    if axes > 2:
        return "segmentation"
    return "language_modeling" if is_shifted(batch, labels) else "token_classification"


def _of_rows(labels: Tensor, batch: Batch) -> str:
    """Of labels (N, C) beside outputs (N, C): soft classes, several labels, or numbers."""
    wide = labels.double()
    known = wide[~wide.isnan()]
    sums = (wide.sum(1) - 1).abs() <= SUM
    if bool((known >= 0).all()) and bool(sums.all()):
        return "classification"
    if not bool(((known == 0) | (known == 1) | (known < 0) & (known == known.round())).all()):
        return "regression"
    numbers = labels.is_floating_point()
    if numbers and (bool((known < 0).any()) or not bool((known == 1).any())):
        found = ", ".join(f"{one:g}" for one in sorted(set(known.tolist()))[-3:]) or "NaN"
        raise DataError(
            f"The labels of batch {batch.index} are {found} beside {labels.shape[1]} outputs each,"
            " which may be yes or no (task='multilabel') or numbers (task='regression'); name it"
            " (--task)."
        )
    return "multilabel"


def _one_each(shape: tuple[int, ...], labels: tuple[int, ...]) -> bool:
    """Whether there is one output for each label, but for axes of length 1."""

    def squeezed(sizes: tuple[int, ...]) -> list[int]:
        return [size for size in sizes[1:] if size != 1]

    return shape[:1] == labels[:1] and squeezed(shape) == squeezed(labels)


def _of_numbers(labels: Tensor, batch: Batch, *, single: bool) -> str:
    if labels.dtype == torch.bool:
        return "binary"
    known = labels[~(labels.isnan() if labels.is_floating_point() else is_ignored(labels, 2))]
    yes_or_no = bool(((known == 0) | (known == 1)).all())
    if not single or not yes_or_no:
        return "regression"
    left = len(known) < labels.numel()
    if labels.is_floating_point() or left:
        found = "0.0 and 1.0" if labels.is_floating_point() else "0, 1 and such as do not count"
        raise DataError(
            f"The labels of batch {batch.index} are {found} beside one output each, which may"
            " be yes or no (task='binary') or numbers (task='regression'); name it (--task)."
        )
    return "binary"


def _misfit(shape: tuple[int, ...], labels: Tensor, batch: Batch) -> str:
    kind = str(labels.dtype).removeprefix("torch.")
    wanted = " or ".join(
        dict.fromkeys(str(shape[:axis] + shape[axis + 1 :]) for axis in sorted({1, len(shape) - 1}))
    )
    if len(shape) > 1 and str(tuple(labels.shape)) in wanted and labels.is_floating_point():
        return (
            f"The labels of batch {batch.index} are {kind} numbers {tuple(labels.shape)} beside"
            f" outputs {shape}; convert class numbers with .long(), or give a number for each"
            " output."
        )
    classes = f" {wanted} for class numbers," if len(shape) > 1 else ""
    return (
        f"The labels have shape {tuple(labels.shape)} ({kind}) but the outputs {shape} of batch"
        f" {batch.index}, which is no task that is known; give labels{classes} or"
        f" {shape} for numbers, or register a task of your own."
    )


__all__ = ["tell_task"]
