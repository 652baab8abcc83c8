"""Files of torch.save are read without running code from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from states import plain, same
from torch import nn

import onefold
from onefold import weights
from onefold.errors import WeightsError


class Runs:
    """A pickle that would create a file when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    target = tmp_path / "made-by-the-pickle"
    torch.save(
        {"a": torch.ones(2), "evil": Runs(target)},
        tmp_path / "evil.pt",
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(
        WeightsError,
        match=r"evil\.pt wants to run code \((posix|nt|os)\.mkdir\).*refused.*safetensors",
    ):
        weights.read(tmp_path / "evil.pt")
    assert not target.exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)  # negative control: it would have
    assert target.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_pickled_network_is_refused(tmp_path: Path, zipped: bool) -> None:
    torch.save(
        nn.Sequential(nn.Linear(2, 2)), tmp_path / "net.pt", _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(
        WeightsError, match=r"whole pickled network \(torch\.nn.*Sequential\).*state_dict"
    ):
        weights.read(tmp_path / "net.pt")


def test_torchscript_is_refused(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "net.pt"))
    with pytest.raises(WeightsError, match="TorchScript"):
        weights.read(tmp_path / "net.pt")


def test_the_format_before_torch_1_6(tmp_path: Path) -> None:
    torch.save(plain(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert same(onefold.load(tmp_path / "old.pt"), plain())
