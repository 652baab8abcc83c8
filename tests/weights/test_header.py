"""Damaged safetensors headers and truncated files are refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import onefold
from onefold import weights
from onefold.errors import WeightsError
from onefold.sources.networks import digits


def raw(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(begin: int = 0, end: int = 8, dtype: str = "F32", shape: Any = (2,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "data", "length", "message"),
    [
        (b"", b"", 2**63, "claims"),
        (b"{}", b"", 500, "cut short"),
        (b"{nonsense", b"", None, "not JSON"),
        (b"[1, 2]", b"", None, "not a table"),
        (b'{"a": 1, "a": 2}', b"", None, "twice"),
        (b"\xff\xfe{}", b"", None, "not JSON"),
        (b"[" * 100_000, b"", None, "not JSON"),
        ({"a": entry()}, b"1234", None, "cut short: 'a' ends at byte 8 .* only 4"),
        ({"a": entry()}, b"12345678extra", None, "5 bytes after"),
        ({"a": entry(0, 8), "b": entry(4, 12)}, b"x" * 12, None, "'b' overlap those of 'a'"),
        ({"a": entry(0, 8), "b": entry(12, 20)}, b"x" * 20, None, "4 bytes before 'b'"),
        ({"a": entry(8, 0)}, b"x" * 8, None, "offsets of 'a'"),
        ({"a": entry(-8, 0)}, b"x" * 8, None, "offsets of 'a'"),
        ({"a": entry(0, 4)}, b"x" * 4, None, "needs 8 bytes"),
        ({"a": entry(shape=(-2,))}, b"x" * 8, None, "shape of 'a'"),
        ({"a": entry(shape=(2**40, 2**40))}, b"x" * 8, None, "needs"),
        ({"a": entry(dtype="F4")}, b"x" * 8, None, "dtype 'F4'"),
        ({"a": {"dtype": "F32"}}, b"", None, "entry of 'a'"),
        ({"__metadata__": {"k": 1}, "a": entry()}, b"x" * 8, None, "metadata"),
        ({}, b"", None, "no tensors"),
        ({"a": entry(shape=(1,) * 65)}, b"x" * 8, None, "shape of 'a'"),
        ({"a": entry(shape=(0, 2**63))}, b"", None, "shape of 'a'"),
        ({"a": entry(0, 0, shape=(0, 2**62, 2**62))}, b"", None, "shape of 'a'"),
        ({"a": entry(0, 0, shape=(2**40, 0, 2**22))}, b"", None, "shape of 'a'"),
        ({"a": entry(0, 0, shape=(2**61, 2, 0))}, b"", None, "shape of 'a'"),
        ({"a": entry(shape=(10**1000,) * 64)}, b"x" * 8, None, "shape of 'a'"),
        ({"a": entry(0, 2**64)}, b"x" * 8, None, "offsets of 'a'"),
        ({"a": entry(dtype=["x" * 9000])}, b"x" * 8, None, "in the dtype"),
        ({"\ud800": entry()}, b"x" * 8, None, "is no name of a tensor"),
        ({"n" * 5000: entry()}, b"x" * 8, None, "is no name of a tensor"),
        (b'{"a": {"dtype": ' + b"[" * 900 + b"]" * 900 + b"}}", b"", None, "entry of 'a'|not JSON"),
    ],
)
def test_damaged_safetensors_headers(
    tmp_path: Path, header: Any, data: bytes, length: int | None, message: str
) -> None:
    path = raw(tmp_path / "bad.safetensors", header, data, length)
    with pytest.raises(WeightsError, match=message) as caught:
        weights.read(path)
    assert "bad.safetensors" in str(caught.value)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cut=st.floats(0, 1, exclude_max=True), form=st.sampled_from(["safetensors", "pt"]))
def test_every_truncation_is_refused(tmp_path: Path, cut: float, form: str) -> None:
    whole = tmp_path / f"whole.{form}"
    if not whole.exists():
        onefold.save(digits(4), whole)
    data = whole.read_bytes()
    part = tmp_path / f"part.{form}"
    part.write_bytes(data[: int(cut * len(data))])
    with pytest.raises(WeightsError, match=r"part\."):
        weights.read(part)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=200), form=st.sampled_from(["safetensors", "pt"]))
def test_arbitrary_bytes_never_crash(tmp_path: Path, data: bytes, form: str) -> None:
    path = tmp_path / f"noise.{form}"
    path.write_bytes(data)
    with pytest.raises(WeightsError):
        weights.read(path)


def test_a_pointer_of_git_lfs_is_named_as_such(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 4\n")
    with pytest.raises(WeightsError, match=r"is a pointer of Git LFS .* run `git lfs pull`"):
        weights.header.read_header(file)
