"""Tensors of files, wherever they begin."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch

from onefold.checkpoints.engine.finite import all_finite
from onefold.checkpoints.engine.inputs import Inputs
from onefold.checkpoints.layouts import read_layout
from onefold.errors import WeightsError


def written(path: Path) -> Path:
    """A file whose numbers begin at an odd byte."""
    header = json.dumps(
        {
            "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
            "b": {"dtype": "F32", "shape": [2], "data_offsets": [3, 11]},
        }
    ).encode()
    data = bytes([1, 2, 3]) + struct.pack("<2f", 0.5, -2.0)
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path


def test_numbers_that_begin_at_an_odd_byte(tmp_path: Path) -> None:
    layout, inputs = read_layout(written(tmp_path / "model.safetensors")), Inputs()
    assert inputs.tensor(layout.tensors["a"]).tolist() == [1, 2, 3]
    assert inputs.tensor(layout.tensors["b"]).tolist() == [0.5, -2.0]


def test_a_file_that_became_shorter_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors")
    layout = read_layout(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(WeightsError, match="changed meanwhile"):
        Inputs().tensor(layout.tensors["b"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_sums_that_overflow_are_finite_numbers_all_the_same(dtype: torch.dtype) -> None:
    values = torch.full((1000,), torch.finfo(dtype).max, dtype=dtype)
    assert all_finite(values)
    for wrong in (float("nan"), float("inf"), float("-inf")):
        values[7] = wrong
        assert not all_finite(values)
    assert all_finite(values[:0])
