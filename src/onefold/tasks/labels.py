"""Labels that are numbers of classes: checked, flattened, and without those that are no class.

A label that is no class is left out of every score: a negative one (-100, the ignore index of
torch), and 255 (of segmentation masks) if there are no more classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from onefold.batches import Batch, labels_of
from onefold.errors import DataError
from onefold.tasks.base import Targets

IGNORED = 255  # of segmentation masks: a border, or an object of no class


def is_ignored(labels: Tensor, classes: int) -> Tensor:
    """Which labels, of any shape, say that an example has no class.

    These are negative ones, and 255 if there is no such class.
    """
    return (labels < 0) | ((labels == IGNORED) & (classes <= IGNORED))


def check_labels(labels: Tensor, classes: int) -> Tensor:
    """Labels of any shape as (n,) int64 on the CPU.

    Raises:
        DataError: they are no integers from 0 to classes - 1.
    """
    if labels.is_floating_point() or labels.is_complex():
        raise DataError(
            f"The labels are {str(labels.dtype).removeprefix('torch.')}; scores need class numbers,"
            " so convert them with .long()."
        )
    flat = labels.reshape(-1).cpu().long()
    if len(flat) and not 0 <= int(flat.min()) <= int(flat.max()) < classes:
        found = f"{int(flat.min())} to {int(flat.max())}"
        todo = (
            "they seem to count from 1, so subtract 1"
            if int(flat.min()) == 1 and int(flat.max()) == classes
            else "renumber or drop them"
        )
        raise DataError(
            f"The labels range from {found}, but the network has {classes} classes, numbered 0 to"
            f" {classes - 1}; {todo}."
        )
    return flat


def flatten(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (..., classes) and labels (...) as (n, classes) and (n,), checked.

    Examples whose label is no class (-100, 255) are left out.

    Returns:
        The logits in float64 and the labels in int64, both on the CPU.

    Raises:
        DataError: the shapes do not fit, the labels are no integers, or one lies outside
            0..classes-1.
    """
    if logits.dim() < 2 or logits.shape[-1] < 2 or not logits.is_floating_point():
        dtype = str(logits.dtype).removeprefix("torch.")
        raise DataError(
            f"The outputs have shape {tuple(logits.shape)} and dtype {dtype}; scores need floating"
            " logits (n, classes), two classes or more."
        )
    if labels.shape != logits.shape[:-1]:
        raise DataError(
            f"The labels have shape {tuple(labels.shape)} but the logits {tuple(logits.shape)};"
            f" give labels {tuple(logits.shape[:-1])}."
        )
    classes = logits.shape[-1]
    kept = ~is_ignored(labels, classes)
    flat = check_labels(labels[kept], classes)
    return logits[kept.to(logits.device)].reshape(-1, classes).cpu().double(), flat


def class_targets(labels: Tensor, shape: torch.Size, classes: int) -> Targets:
    """Class numbers as targets for logits (*shape, classes).

    Rows of labels of more than one axis belong to the examples along the first.

    Raises:
        DataError: the shapes do not fit, or a label is no class.
    """
    if labels.shape != shape:
        raise DataError(
            f"The labels have shape {tuple(labels.shape)} but the logits"
            f" {(*shape, classes)}; give labels {tuple(shape)}."
        )
    kept, ignored = None, 0
    if not _all_classes(labels, classes):
        wrong = is_ignored(labels, classes)
        ignored = int(wrong.sum())
        kept = ~wrong if ignored else None
        flat = check_labels(labels if kept is None else labels[kept], classes)
    else:
        flat = labels.reshape(-1).cpu().long()
    owners = owners_of(labels, kept) if labels.dim() > 1 else None
    return Targets(flat, kept, owners, len(labels) if labels.dim() else 1, ignored)


def _all_classes(labels: Tensor, classes: int) -> bool:
    """Whether labels are numbers of classes and nothing else, at the cost of one pass."""
    if labels.is_floating_point() or labels.is_complex() or not labels.numel():
        return False
    if labels.dtype == torch.bool:
        return classes > 1
    low, high = torch.aminmax(labels)
    return int(low) >= 0 and int(high) < classes


def owners_of(labels: Tensor, kept: Tensor | None) -> Tensor:
    """The example, along the first axis, of every label (n, ...) that is kept; (r,) int64."""
    places = torch.arange(len(labels), device="cpu").reshape(-1, *[1] * (labels.dim() - 1))
    places = places.expand(labels.shape)
    return places.reshape(-1) if kept is None else places[kept.cpu()]


def labels_in(batch: Batch) -> Tensor:
    """The labels of a batch that is scored.

    Raises:
        DataError: there are none of use.
    """
    return labels_of(batch, "scores need them")


__all__ = ["check_labels", "class_targets", "flatten", "is_ignored", "labels_in", "owners_of"]
