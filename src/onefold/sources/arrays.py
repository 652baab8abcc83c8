"""Examples in arrays: one or several inputs, labels of any shape, in memory or mapped from files.

Numbers are brought to the types of networks batch by batch: floating-point numbers to float32,
whole numbers to int64, images of bytes to 0..1.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onefold.errors import DataError
from onefold.sources.images import CIFAR, IMAGENET

ROWS = 65_536  # of an array that are checked at a time


@dataclass(frozen=True)
class Array:
    """One array of inputs or labels.

    Attributes:
        values: (n, ...), of any numbers.
        name: of the array in messages, as "The array 'x' of data.npz".
        image: bytes are images, which are divided by 255.
        mean: one number, or one per channel (axis 1), subtracted from inputs; none if ().
        std: one number, or one per channel, by which the difference is divided.
        mapped: the values lie in a file and are checked as they are read.
        gaps: nan may stand for a number that is missing.
    """

    values: Tensor
    name: str
    image: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    mapped: bool = False
    gaps: bool = False

    def ready(self, rows: Tensor) -> Tensor:
        """The rows as a network takes them.

        Raises:
            DataError: a row that is read from a file holds nan or an infinite number.
        """
        chosen = self.values[rows]
        if self.mapped:
            check_finite(chosen, rows, self.name, self.gaps)
        if self.image:
            chosen = chosen.float().div_(255)
        elif chosen.is_complex():
            return chosen.to(torch.complex64)
        elif chosen.is_floating_point():
            chosen = chosen.float()
        elif chosen.dtype != torch.bool:
            chosen = chosen.long()
        if not self.mean:
            return chosen
        shape = (-1, *[1] * (chosen.dim() - 2))
        mean, std = (torch.tensor(values).view(shape) for values in (self.mean, self.std))
        return (chosen.float() - mean) / std

    def checked(self, rows: Tensor) -> Array:
        """The array itself, all of whose rows were looked at unless they lie in a file.

        Raises:
            DataError: a row holds nan or an infinite number.
        """
        if not self.mapped and self.values.is_floating_point():
            for part in rows.split(ROWS):  # type: ignore[no-untyped-call]
                check_finite(self.values[part], part, self.name, self.gaps)
        return self


@dataclass(frozen=True)
class Arrays:
    """Examples in arrays.

    Attributes:
        inputs: arrays of the network's inputs.
        target: the labels; None if there are none.
        rows: (n,), int64, the rows of the arrays that are examples.
        keys: names under which the network takes its inputs; () for inputs by position.
        classes: number of classes; None if the labels are no class numbers.
        names: of the classes in the order of their numbers; () if they are not known.
    """

    inputs: tuple[Array, ...]
    target: Array | None
    rows: Tensor
    keys: tuple[str, ...] = ()
    classes: int | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> Tensor | None:
        """The labels (n, ...); None if there are none."""
        return None if self.target is None else _labels(self.target.ready(self.rows))

    @property
    def groups(self) -> Tensor | None:
        """None, as all examples have one shape."""
        return None

    def batch(self, index: Tensor | slice) -> Any:
        """The examples at `index`: inputs, or (inputs, labels)."""
        rows = self.rows[index]
        values = [array.ready(rows) for array in self.inputs]
        inputs: Any = values[0] if len(values) == 1 else tuple(values)
        if self.keys:
            inputs = dict(zip(self.keys, values, strict=True))
        if self.target is not None:
            return inputs, _labels(self.target.ready(rows))
        return (inputs,) if isinstance(inputs, tuple) else inputs

    def part(self, index: Tensor) -> Arrays:
        """The examples at `index` alone."""
        return replace(self, rows=self.rows[index])


def _labels(values: Tensor) -> Tensor:
    return values.long() if values.dtype == torch.bool else values


def as_tensor(array: NDArray[Any], name: str) -> Tensor:
    """An array as a tensor, of the nearest type that torch has; memory is shared where it can be.

    Args:
        array: numbers or truth values.
        name: of the array in messages.

    Raises:
        DataError: it holds something else than numbers.
    """
    if array.dtype.kind not in "biufc":
        raise DataError(
            f"{name} holds {_kind(array)}, which no network takes; save numbers instead."
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    elif array.dtype.itemsize > 8 and array.dtype.kind == "f":
        array = array.astype(np.float64)
    if any(stride < 0 for stride in array.strides):
        array = np.ascontiguousarray(array)
    with warnings.catch_warnings():  # of arrays that must not be written to; nothing here does
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


def as_image(values: Tensor) -> Tensor | None:
    """Images of bytes as (n, channels, h, w), a view; None if these are none.

    (n, h, w) are grey images. (n, h, w, 1 or 3) have their channels moved to axis 1.
    """
    if values.dtype != torch.uint8 or values.dim() not in (3, 4):
        return None
    if values.dim() == 3:
        return values.unsqueeze(1)
    if values.shape[1] in (1, 3):
        return values
    return values.permute(0, 3, 1, 2) if values.shape[3] in (1, 3) else None


def usual_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation that images (n, channels, h, w) get without options."""
    if images.shape[1] == 1:
        return (), ()
    return CIFAR if min(images.shape[-2:]) <= 64 else IMAGENET


def check_finite(values: Tensor, rows: Tensor, name: str, gaps: bool = False) -> None:
    """Refuse nan and infinite numbers.

    Args:
        values: (n, ...).
        rows: (n,), their rows in the array.
        name: of the array in messages.
        gaps: nan is allowed.

    Raises:
        DataError: naming the first row that holds one.
    """
    if not (values.is_floating_point() or values.is_complex()):
        return
    wrong = values.isinf() if gaps else ~values.isfinite()
    broken = wrong.reshape(len(values), -1).any(1)
    if bool(broken.any()):
        first = int(broken.nonzero()[0])
        found = values[first].reshape(-1)
        kind = "an infinite number" if gaps or not bool(found.isnan().any()) else "nan"
        raise DataError(
            f"{name} holds {kind} in row {int(rows[first])} (counted from 0); put the row right or"
            " leave it out."
        )


def check_lengths(arrays: Sequence[Array]) -> int:
    """The number of rows that all arrays have.

    Raises:
        DataError: they differ, or an array is a single number.
    """
    for array in arrays:
        if not array.values.dim():
            raise DataError(f"{array.name} is a single number; give one row per example.")
        if len(array.values) != len(arrays[0].values):
            other = arrays[0]
            raise DataError(
                f"{array.name} has {len(array.values)} rows, but {_lower(other.name)}"
                f" {len(other.values)}; give each example one row in both."
            )
    return len(arrays[0].values)


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def _kind(array: NDArray[Any]) -> str:
    kinds = {"O": "Python objects", "U": "texts", "S": "texts", "M": "dates", "m": "durations"}
    return kinds.get(array.dtype.kind, "records")


__all__ = [
    "Array",
    "Arrays",
    "as_image",
    "as_tensor",
    "check_finite",
    "check_lengths",
    "usual_statistics",
]
