"""Checksums of written files, by which a run that goes on finds what was damaged meanwhile.

The tensors of a file are ranges, which threads write in any order. With w_k the k-th word of 64
bits of a range, and p the place of the range in the file,

    sum over ranges of (2 p + 1) g sum_k w_k   mod 2^64,  g the odd number `MIX`.

Any change within one word changes it, and other damage does so but for a chance of about 2^-64. A
range that was just computed lies in the cache, so that its sum costs little beside it; CRC-32 and
SHA-256 would cost more than the merge. Headers are left out, as they are compared when the files
are read back.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

MIX = 0x9E3779B97F4A7C15
WORD = 8  # bytes
MODULUS = 1 << 64
Bytes = npt.NDArray[np.uint8]
Range = tuple[int, int]  # the first byte in the file, and the one behind the last


class Checksum:
    """The checksum of one file. Several threads may add to it."""

    def __init__(self) -> None:
        self._sum = 0
        self._lock = threading.Lock()

    def add(self, place: int, values: Bytes) -> None:
        """Add a range.

        Args:
            place: its first byte in the file.
            values: (size,) uint8, contiguous.
        """
        more = (2 * place + 1) * MIX * _sum_of(values)
        with self._lock:
            self._sum = (self._sum + more) % MODULUS

    @property
    def text(self) -> str:
        """The checksum in 16 hexadecimal digits."""
        return f"{self._sum:016x}"


def checksum_of(path: Path, ranges: Iterable[Range]) -> str | None:
    """The checksum of a file that is there; None: it cannot be read, or is too short.

    Args:
        path: the file.
        ranges: the ranges in which it was written.
    """
    found = Checksum()
    try:
        with open(path, "rb") as stream:
            for start, stop in ranges:
                stream.seek(start)
                part = bytearray(stop - start)
                if stream.readinto(part) < len(part):
                    return None
                found.add(start, np.frombuffer(part, dtype=np.uint8))
    except OSError:
        return None
    return found.text


def _sum_of(values: Bytes) -> int:
    """The sum of bytes, (size,), as words; the last bytes make a shorter word."""
    whole = len(values) - len(values) % WORD
    total = int(values[:whole].view("<u8").sum(dtype=np.uint64))
    if whole < len(values):
        total += int.from_bytes(values[whole:].tobytes(), "little")
    return total
