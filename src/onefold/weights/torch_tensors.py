"""Tensors of torch files: built from the bytes of their storages, every claim checked.

A pickle says of a tensor its storage, its offset there, its shape and its strides; of a storage its
key, dtype and number of elements. A damaged or hostile file may claim anything, so nothing is
reserved for what is claimed: a storage must be as long as its record in the file, and a tensor must
lie within its storage.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from onefold.weights.pickled_names import NOT_PLAIN
from onefold.weights.unpickling import DamagedPickleError, Made, Named

MOST_AXES = 64  # axes that torch allows
STORAGES = {  # storages' classes of torch -> dtype; an UntypedStorage counts bytes
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}
QUANTISED = ("QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage")
PLAIN_CLASSES = {"torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"}


@dataclass(frozen=True)
class Stored:
    """A storage of a file.

    Attributes:
        key: its name in the file.
        dtype: of its elements.
        count: how many there are.
        values: the bytes, one whole torch storage.
    """

    key: str
    dtype: torch.dtype
    count: int
    values: torch.UntypedStorage


def claim(persistent: Any) -> tuple[str, torch.dtype, int] | None:
    """The key, dtype and number of elements of the storage that a persistent id names.

    Returns:
        None for a storage of quantised numbers, which is not read.

    Raises:
        DamagedPickleError: it names no storage.
    """
    if not isinstance(persistent, tuple) or len(persistent) < 5 or persistent[0] != "storage":
        raise DamagedPickleError("it names a storage that is none")
    _, kind, key, _, count = persistent[:5]
    name = kind.name.rpartition(".")[2] if isinstance(kind, Named) else ""
    if name in QUANTISED:
        return None
    if name not in STORAGES:
        raise DamagedPickleError(f"there is no kind of storage '{name[:40]}'")
    if not isinstance(key, str) or not _natural(count):
        raise DamagedPickleError("it names a storage without a key or length")
    return key, STORAGES[name], count


def build(name: str, given: tuple[Any, ...]) -> Any:
    """What a pickle makes by the class or function `name`: a tensor, or a `Made` of anything else.

    Raises:
        DamagedPickleError: a tensor that does not lie within its storage.
    """
    if name in ("copyreg._reconstructor", "copy_reg._reconstructor"):
        kind = given[0].name if given and isinstance(given[0], Named) else name
        return Made(kind, given)
    rebuild = REBUILDERS.get(name)
    return rebuild(given) if rebuild is not None else Made(name, given)


def _tensor(given: tuple[Any, ...]) -> Tensor | Made:
    """A tensor of (storage, offset, shape, strides, ...)."""
    if len(given) < 4:
        raise DamagedPickleError("a tensor lacks its shape")
    stored, offset, shape, strides = given[:4]
    if not isinstance(stored, Stored):
        raise DamagedPickleError("a tensor has no storage")
    return _view(stored, stored.dtype, stored.count, offset, shape, strides)


def _typed_tensor(given: tuple[Any, ...]) -> Tensor | Made:
    """A tensor of (bytes, offset, shape, strides, gradient, hooks, dtype, ...)."""
    if len(given) < 7 or not isinstance(given[0], Stored) or not isinstance(given[6], Named):
        raise DamagedPickleError("a tensor has no storage or dtype")
    dtype = getattr(torch, given[6].name.removeprefix("torch."), None)
    if not isinstance(dtype, torch.dtype):
        raise DamagedPickleError(f"there is no dtype '{given[6].name[:40]}'")
    stored, offset, shape, strides = given[:4]
    return _view(stored, dtype, stored.values.nbytes() // dtype.itemsize, offset, shape, strides)


def _view(
    stored: Stored, dtype: torch.dtype, count: int, offset: Any, shape: Any, strides: Any
) -> Tensor:
    for numbers in (shape, strides):
        if not isinstance(numbers, tuple | list) or len(numbers) > MOST_AXES:
            raise DamagedPickleError("a shape is no list of numbers")
        if not all(map(_natural, numbers)):
            raise DamagedPickleError("a shape has a side that is no natural number")
    # An empty tensor takes no bytes, however large its other sides are, but torch multiplies them.
    if not _natural(math.prod(side for side in shape if side) * dtype.itemsize):
        raise DamagedPickleError("a shape is larger than any memory")
    if len(shape) != len(strides) or not _natural(offset):
        raise DamagedPickleError("a shape and its strides do not fit")
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if (0 not in shape and last >= count) or offset > count:
        raise DamagedPickleError(
            f"a tensor of shape {tuple(shape)} does not lie within its storage"
        )
    empty = torch.empty(0, dtype=dtype)
    view: Tensor = empty.set_(stored.values, offset, tuple(shape), tuple(strides))
    return view


def _parameter(given: tuple[Any, ...]) -> Any:
    """The tensor of a parameter."""
    if not given or not isinstance(given[0], Tensor | Made):
        raise DamagedPickleError("a parameter has no tensor")
    return given[0]


def _of_class(given: tuple[Any, ...]) -> Any:
    """A tensor of (function, class, what the function is given, attributes)."""
    if len(given) < 3 or not isinstance(given[0], Named) or not isinstance(given[1], Named):
        raise DamagedPickleError("a tensor has no class")
    if not isinstance(given[2], tuple) or given[0].name == "torch._tensor._rebuild_from_type_v2":
        raise DamagedPickleError("a tensor has no values")
    if given[1].name not in PLAIN_CLASSES:
        return Made("torch._utils._rebuild_wrapper_subclass", given)
    return build(given[0].name, given[2])


def _natural(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**63


REBUILDERS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _of_class,
}


def lack_of(value: Any) -> str:
    """What a tensor without plain values is, in words; "" for anything else."""
    return NOT_PLAIN.get(value.kind, "") if isinstance(value, Made) else ""
