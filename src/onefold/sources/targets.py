"""Labels in an array: whether they are class numbers, and of how many classes."""

from __future__ import annotations

from torch import Tensor

from onefold.errors import DataError
from onefold.sources.class_names import renumbered, wanted_classes
from onefold.sources.data import Request


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
