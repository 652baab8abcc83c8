"""Labels of a table or an array: class names to numbers, the number of classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onefold.errors import DataError, nearest
from onefold.sources.class_names import renumbered, wanted_classes
from onefold.sources.data import Request


def named_classes(
    values: Sequence[str], training: Sequence[str], request: Request
) -> tuple[Tensor, tuple[str, ...]]:
    """Class names as numbers, and the names in the order of the numbers.

    They are numbered by the sorted names of the training rows, or as the option `classes` says.

    Args:
        values: names of the wanted split, one per row.
        training: names of the training split.
        request: the request, for `classes` and for messages.

    Raises:
        DataError: a row has no name, or one that the training rows do not have.
        SettingError: `classes` lacks a class.
    """
    known = wanted_classes(request.name, request.name.path.parent)
    own = tuple(sorted(set(training) - {""}))
    if known is not None:
        renumbered(torch.zeros(0, dtype=torch.int64), own, known, request.name)  # refuses lacks
        own = known
    numbers = {name: index for index, name in enumerate(own)}
    for row, value in enumerate(values):
        if value == "":
            raise DataError(
                f"Row {row} (counted from 0) of the {request.split} split of"
                f" '{request.name.text}' has no label; give one or leave the row out."
            )
        if value not in numbers:
            raise DataError(
                f"Row {row} (counted from 0) of the {request.split} split of"
                f" '{request.name.text}' has the class '{value}', which no training row has;"
                f" {nearest(value, own)}"
            )
    return torch.tensor([numbers[value] for value in values], dtype=torch.int64), own


def numbered_classes(
    labels: Tensor, training: Tensor | None, request: Request
) -> tuple[Tensor, int | None, tuple[str, ...]]:
    """Labels as they are, the number of classes, and the names that the option `classes` gives.

    Args:
        labels: of the wanted split; whole numbers (n,) are class numbers.
        training: those of the training split, which may have further classes.
        request: the request.

    Returns:
        The labels, renumbered by `classes` if it is given; None and () if they are no class
        numbers.

    Raises:
        SettingError: `classes` lacks a class.
        DataError: `classes` is given for labels that are no class numbers.
    """
    wanted = wanted_classes(request.name, request.name.path.parent)
    whole = not (labels.is_floating_point() or labels.is_complex()) and labels.dim() == 1
    both = [labels] if training is None else [labels, training]
    if not whole or min(int(part.min()) for part in both) < 0:
        if wanted is not None:
            raise DataError(
                f"The labels of '{request.name.text}' are no class numbers from 0; leave out"
                " classes."
            )
        return labels, None, ()
    count = 1 + max(int(part.max()) for part in both)
    if wanted is None:
        return labels, count, ()
    own = [str(number) for number in range(count)]
    labels, names = renumbered(labels.long(), own, wanted, request.name)
    return labels, len(names), names
