"""The header of a safetensors file, checked in full before a tensor is read.

Layout (https://github.com/huggingface/safetensors): 8 bytes, little-endian, with the header's
length; the header, a JSON object of name -> {dtype, shape, data_offsets: [begin, end]}; the
tensors' bytes, without gaps or overlaps.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onefold.errors import WeightsError

HEADER_LIMIT = 100_000_000  # bytes; the format's own limit
POINTER = b"version https://git-lfs"  # what a file holds that Git LFS has not fetched
MOST_AXES = 64  # axes that torch allows
LARGEST = 2**63  # no number of a header is as large; products of larger ones are slow
LONGEST_NAME = 4096  # characters
SHOWN = 80  # characters of a value in a message

# Bytes per element of the dtypes that can be read. Sub-byte formats (F4, F6) are quantised and
# therefore left out.
ITEM_SIZES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E5M2": 1,
    "F8_E4M3": 1,
    "F8_E5M2FNUZ": 1,
    "F8_E4M3FNUZ": 1,
    "F8_E8M0": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
    "C64": 8,
}


@dataclass(frozen=True)
class Stored:
    """One tensor of a file.

    Attributes:
        dtype: the dtype as the format writes it, such as "F32".
        shape: the shape.
        begin: its first byte, counted from the header's end.
        end: one past its last byte.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """The header of a file.

    Attributes:
        tensors: the tensors by name.
        metadata: the free texts.
    """

    tensors: dict[str, Stored]
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """Read and check the header of the safetensors file at `path`. No tensor is read.

    Raises:
        WeightsError: the file is no safetensors file, is cut short or longer than its header says,
            or its header is contradictory.
    """
    size = os.path.getsize(path)
    if size < 8:
        raise WeightsError(
            f"{path} is cut short or no safetensors file: it has {size} bytes, less than the 8"
            " before the header; get it again."
        )
    with open(path, "rb") as file:
        first = file.read(8)
        length = int.from_bytes(first, "little")
        if first == POINTER[:8] and file.read(len(POINTER) - 8) == POINTER[8:]:
            raise WeightsError(
                f"{path} is a pointer of Git LFS and holds no weights; run `git lfs pull` in its"
                " folder."
            )
        if length > HEADER_LIMIT:
            raise WeightsError(
                f"{path} is no safetensors file: its header claims {length} bytes, more than the"
                f" {HEADER_LIMIT} allowed."
            )
        if length > size - 8:
            raise WeightsError(
                f"{path} is cut short: its header takes {length} bytes, but only {size - 8} follow;"
                " get the file again."
            )
        text = file.read(length)
    entries = _json(text, path)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str) for value in metadata.values()
    ):
        raise WeightsError(
            f"{path} has a damaged header: its metadata is not a table of texts; write the file"
            " again."
        )
    for name in entries:
        _check_name(name, path)
    tensors = {name: _entry(name, value, path) for name, value in entries.items()}
    _check_offsets(tensors, size - 8 - length, path)
    return Header(tensors, metadata)


def _json(text: bytes, path: Path) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            raise ValueError("a name occurs twice")
        return table

    try:
        entries = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        reason = str(error) if "twice" in str(error) else "it is not JSON"
        raise WeightsError(
            f"{path} is damaged or no safetensors file: its header cannot be read, since {reason};"
            " get the file again."
        ) from error
    if not isinstance(entries, dict):
        raise WeightsError(
            f"{path} is damaged or no safetensors file: its header is not a table of tensors; get"
            " the file again."
        )
    return entries


def _check_name(name: str, path: Path) -> None:
    """Refuse a name that is no text (half of a character), or as long as no name is."""
    whole = name.encode(errors="replace") == name.encode(errors="surrogatepass")
    if not whole or len(name) > LONGEST_NAME:
        raise WeightsError(
            f"{path} has a damaged header: {_short(name)} is no name of a tensor; write the file"
            " again."
        )


def _short(value: Any) -> str:
    """A value in a message; it may be long, or nested beyond what can be written."""
    try:
        return ascii(value)[:SHOWN]
    except RecursionError:
        return "nested without end"


def _entry(name: str, value: Any, path: Path) -> Stored:
    def natural(number: Any) -> bool:
        return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < LARGEST

    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise WeightsError(
            f"{path} has a damaged header: the entry of '{name}' must have dtype, shape and"
            " data_offsets; write the file again."
        )
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_SIZES:
        raise WeightsError(
            f"{path} holds '{name}' in the dtype {_short(dtype)}, which cannot be read; convert it"
            " to float32, float16 or bfloat16."
        )
    if (
        not isinstance(shape, list)
        or len(shape) > MOST_AXES
        or not all(natural(side) for side in shape)
        # An empty tensor takes no bytes, however large its other sides are.
        or (0 in shape and math.prod(filter(None, shape)) * ITEM_SIZES[dtype] >= LARGEST)
    ):
        raise WeightsError(
            f"{path} has a damaged header: the shape of '{name}' is {_short(shape)}; write the"
            " file again."
        )
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(natural(offset) for offset in offsets)
        or offsets[0] > offsets[1]
    ):
        raise WeightsError(
            f"{path} has a damaged header: the offsets of '{name}' are {_short(offsets)}; write"
            " the file again."
        )
    needed = math.prod(shape) * ITEM_SIZES[dtype]
    if offsets[1] - offsets[0] != needed:
        raise WeightsError(
            f"{path} has a damaged header: '{name}' of shape {tuple(shape)} in {dtype} needs"
            f" {needed} bytes, but its offsets span {offsets[1] - offsets[0]}; write the file"
            " again."
        )
    return Stored(dtype, tuple(shape), offsets[0], offsets[1])


def _check_offsets(tensors: dict[str, Stored], available: int, path: Path) -> None:
    """Refuse tensors that do not follow one another from byte 0 to the end of the file."""
    position, before = 0, ""
    for name, stored in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if stored.end > available:
            raise WeightsError(
                f"{path} is cut short: '{name}' ends at byte {stored.end} of the data, but only"
                f" {available} bytes are there; get the file again."
            )
        if stored.begin < position:
            raise WeightsError(
                f"{path} has a damaged header: the bytes of '{name}' overlap those of '{before}';"
                " write the file again."
            )
        if stored.begin > position:
            raise WeightsError(
                f"{path} has a damaged header: {stored.begin - position} bytes before '{name}'"
                " belong to no tensor; write it again."
            )
        position, before = stored.end, name
    if position != available:
        raise WeightsError(
            f"{path} has {available - position} bytes after its last tensor; it is damaged, so get"
            " it again."
        )
