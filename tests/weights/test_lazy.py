"""States that stay on disk until a tensor is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from states import plain, same

import onefold
from onefold import weights
from onefold.errors import WeightsError


def test_safetensors_stay_on_disk_until_read(tmp_path: Path) -> None:
    save_file(plain(), tmp_path / "a.safetensors", metadata={"note": "x"})
    checkpoint = weights.read(tmp_path / "a.safetensors")
    assert isinstance(checkpoint.tensors, weights.LazyState)
    assert (checkpoint.format, checkpoint.metadata, checkpoint.notes, checkpoint.prefix) == (
        "safetensors",
        {"note": "x"},
        [],
        "",
    )
    assert checkpoint.tensors.shape("a.weight") == (3, 4)
    assert same(checkpoint.tensors, plain())


def test_loaded_tensors_do_not_depend_on_the_file(tmp_path: Path) -> None:
    for name, write in (("a.safetensors", save_file), ("a.pt", torch.save)):
        write(plain(), tmp_path / name)
        state = onefold.load(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        with open(
            tmp_path / name, "r+b"
        ) as file:  # overwritten in place: a memory-mapped tensor would change
            file.write(bytes(len(data)))
        assert same(state, plain())


def test_lazy_state_says_when_its_file_is_gone(tmp_path: Path) -> None:
    save_file(plain(), tmp_path / "a.safetensors")
    state = weights.read(tmp_path / "a.safetensors", check_finite=False).tensors
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        state["a.bias"]
