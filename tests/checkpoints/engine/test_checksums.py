"""Checksums of files tell any change, whatever the order and the number of threads."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onefold.checkpoints.engine.checksums import Checksum, checksum_of


def checksum(data: bytes, cuts: list[int], backwards: bool = False) -> str:
    """The checksum of bytes in ranges."""
    found = Checksum()
    ends = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    ranges = list(itertools.pairwise(ends))
    for start, stop in reversed(ranges) if backwards else ranges:
        found.add(start, np.frombuffer(data[start:stop], dtype=np.uint8))
    return found.text


@given(st.binary(min_size=1, max_size=200), st.lists(st.integers(1, 199), max_size=5), st.data())
def test_any_other_byte_gives_another_checksum(
    data: bytes, cuts: list[int], draw: st.DataObject
) -> None:
    at, by = draw.draw(st.integers(0, len(data) - 1)), draw.draw(st.integers(1, 255))
    other = bytearray(data)
    other[at] ^= by
    assert checksum(data, cuts) != checksum(bytes(other), cuts)
    assert checksum(data, cuts) == checksum(data, cuts, backwards=True)


def test_ranges_that_change_places_are_told() -> None:
    first, second = bytes(range(16)), bytes(range(16, 32))
    assert checksum(first + second, [16]) != checksum(second + first, [16])
    assert checksum(bytes(16) + first, [16]) != checksum(first + bytes(16), [16])


def test_a_file_that_is_short_or_gone_has_no_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(20)))
    whole = checksum_of(path, [(4, 12), (12, 20)])
    assert whole == checksum_of(path, [(12, 20), (4, 12)])
    assert checksum_of(path, [(4, 12), (12, 21)]) is None
    assert checksum_of(tmp_path / "none", [(0, 1)]) is None
