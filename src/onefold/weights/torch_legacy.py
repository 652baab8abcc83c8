"""The format of torch before 1.6: five pickles, then the bytes of the storages.

The pickles hold a magic number, the number of the format, facts on the machine, the object, and the
keys of the storages in their order. Each storage is the number of its elements, in 8 bytes, and
its bytes.
"""

from __future__ import annotations

from typing import Any

import torch

from onefold.weights.binary import Binary
from onefold.weights.torch_tensors import Stored, build, claim
from onefold.weights.unpickling import DamagedPickleError, Made, unpickle

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001


def read_legacy(file: Binary) -> tuple[Any, set[str]]:
    """The object in a torch file of the old format, and the names in its pickle.

    The pickle comes before the storages, but tensors need theirs. The pickle is therefore read
    twice: first for the dtypes of the storages, by which their places are found, then in full.

    Raises:
        DamagedPickleError: it is no such file, or contradicts itself.
    """
    file.stream.seek(0)
    if _plain(file) != MAGIC or _plain(file) != VERSION or not isinstance(_plain(file), dict):
        raise DamagedPickleError("it is not of torch's old format")
    begin = file.stream.tell()
    claims: dict[str, tuple[torch.dtype, int]] = {}

    def noted(persistent: Any) -> Any:
        if isinstance(persistent, tuple) and persistent[:1] == ("module",) and len(persistent) > 1:
            return persistent[1]  # the class of a module, with its source
        key, dtype, count = _claim(persistent)
        if claims.setdefault(key, (dtype, count)) != (dtype, count):
            raise DamagedPickleError(f"the storage '{key[:40]}' is described in two ways")
        return Made("a storage")

    _, names = unpickle(file.stream, Made, noted)
    keys = _plain(file)
    places = _places(file, keys, claims)

    def stored(persistent: Any) -> Any:
        if persistent[0] == "module":
            return persistent[1]
        key = _claim(persistent)[0]
        if key not in places:
            raise DamagedPickleError(f"the storage '{key[:40]}' is missing")
        whole = places[key]
        view = persistent[5] if len(persistent) > 5 else None
        if view is None:
            return whole
        if not isinstance(view, tuple) or len(view) != 3:
            raise DamagedPickleError("a view of a storage has no place")
        return _viewed(whole, view[1], view[2])

    file.stream.seek(begin)
    return unpickle(file.stream, build, stored)[0], names


def _claim(persistent: Any) -> tuple[str, torch.dtype, int]:
    claimed = claim(persistent)
    if claimed is None:
        raise DamagedPickleError(
            "it holds quantised numbers, which are not read from the old format"
        )
    return claimed


def _plain(file: Binary) -> Any:
    """The next pickle of the file, which holds no tensors."""
    return unpickle(file.stream, Made, Made)[0]


def _places(
    file: Binary, keys: Any, claims: dict[str, tuple[torch.dtype, int]]
) -> dict[str, Stored]:
    """The storages by key, in the order of `keys` behind the pickles."""
    if not isinstance(keys, list) or len(set(map(str, keys))) < len(keys):
        raise DamagedPickleError("it does not list its storages")
    places: dict[str, Stored] = {}
    position = file.stream.tell()
    for key in keys:
        if key not in claims:
            raise DamagedPickleError("a storage is listed that no tensor has")
        dtype, claimed = claims[key]
        count = int.from_bytes(file.text(position, 8), "little", signed=True)
        size, position = count * dtype.itemsize, position + 8
        if count != claimed or position + size > file.size:
            raise DamagedPickleError(f"the storage '{str(key)[:40]}' is cut short")
        values = file.part(position, size) if size else file.part(0, 0)
        places[key] = Stored(key, dtype, count, values)
        position += size
    return places


def _viewed(whole: Stored, offset: Any, count: Any) -> Stored:
    """A part of a storage, as versions of torch before 0.4 wrote them."""
    if not isinstance(offset, int) or not isinstance(count, int):
        raise DamagedPickleError("a view of a storage has no place")
    if not 0 <= offset <= offset + count <= whole.count:
        raise DamagedPickleError("a view does not lie within its storage")
    size = whole.dtype.itemsize
    values = whole.values[offset * size : (offset + count) * size]
    return Stored(whole.key, whole.dtype, count, values)
