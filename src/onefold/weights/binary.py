"""The bytes of a file, mapped into memory or held there, as storages of torch."""

from __future__ import annotations

import io
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch

ALIGNMENT = 16  # bytes; numbers that begin elsewhere are copied


@dataclass(frozen=True)
class Binary:
    """A file, or a file that was unpacked from another one.

    Attributes:
        where: its name, for messages.
        size: bytes.
        stream: reads it; nothing is reserved beyond its end.
        values: all of it as one storage, mapped if it is a file.
    """

    where: str
    size: int
    stream: IO[bytes]
    values: torch.UntypedStorage

    def part(self, begin: int, size: int) -> torch.UntypedStorage:
        """The bytes from `begin` on as a storage, which shares the memory if it is aligned."""
        if begin % ALIGNMENT and size:
            return _held(self.text(begin, size))
        values: torch.UntypedStorage = self.values[begin : begin + size]
        return values

    def text(self, begin: int, size: int) -> bytes:
        """The bytes from `begin` on, fewer if the file ends before."""
        self.stream.seek(min(begin, self.size))
        return self.stream.read(size)


class _Mapped(mmap.mmap):
    def seekable(self) -> bool:
        """True; the class itself says so from Python 3.13 on."""
        return True


def of_file(path: Path) -> Binary:
    """The file at `path`, mapped. Raises OSError or RuntimeError if the system refuses."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        stream = _Mapped(file.fileno(), 0, access=mmap.ACCESS_READ)
    values = torch.UntypedStorage.from_file(os.fspath(path), False, size)
    return Binary(str(path), size, stream, values)  # type: ignore[arg-type]


def of_bytes(data: bytes, where: str) -> Binary:
    """Bytes in memory."""
    return Binary(where, len(data), io.BytesIO(data), _held(data))


def _held(data: bytes) -> torch.UntypedStorage:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).untyped_storage()
