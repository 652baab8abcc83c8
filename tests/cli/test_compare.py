"""`onefold compare`: one sentence before a merge, and the broken networks by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import onefold as of

MODEL = ["--model", "digits?width=4"]
DATA = ["--data", "sklearn:digits", "--samples", "200", "--batch-size", "50"]


@pytest.fixture
def spoilt(members: list[Path], tmp_path: Path) -> Path:
    """The first member with a NaN in its first weight."""
    state = {name: tensor.clone() for name, tensor in of.load(members[0]).items()}
    name = next(name for name, tensor in state.items() if tensor.dim() > 1)
    state[name].view(-1)[0] = torch.nan
    save_file(state, tmp_path / "spoilt.safetensors")
    return tmp_path / "spoilt.safetensors"


def test_it_says_what_the_networks_are_to_one_another(
    onefold: Callable, members: list[Path]
) -> None:
    found = onefold("compare", *members, *MODEL, *DATA)
    assert found.status == 0, found.err
    text = " ".join(found.out.split())
    assert text.startswith(("These networks know", "Most of these networks"))
    assert "on 200 unlabelled examples" in text
    for path in members:
        assert path.name in found.out


def test_it_names_broken_networks(onefold: Callable, members: list[Path], spoilt: Path) -> None:
    found = onefold("compare", *members, spoilt, *MODEL, *DATA)
    assert found.status == 0, found.err
    assert found.out.startswith("spoilt.safetensors is broken: NaN (1 of ")
    alone = onefold("compare", members[0], spoilt, *MODEL, *DATA)
    assert alone.status == 0
    assert "There is nothing to merge, as only m0.safetensors is sound." in alone.out


def test_it_prints_json(onefold: Callable, members: list[Path]) -> None:
    found = json.loads(onefold("compare", *members, *MODEL, *DATA, "--json").out)
    assert found["networks"] == [path.name for path in members]
    assert found["evidence"]["knowledge"]["examples"] == 200
    assert found["sentences"][0]


def test_files_of_one_name_are_told_apart(
    onefold: Callable, members: list[Path], tmp_path: Path
) -> None:
    twin = tmp_path / members[0].name
    twin.write_bytes(members[1].read_bytes())
    assert str(twin) in "".join(
        onefold("compare", members[0], twin, *MODEL, *DATA, "--json").out.split()
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["one.safetensors", *MODEL, *DATA], "CHECKPOINTS: it needs at least 2"),
        ([*MODEL], "The comparison needs --data"),
        ([*MODEL, "--data", "sklearn:digit"], "sklearn:digit"),
        (["--model", "digit", *DATA], "digit"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    refused: Callable, members: list[Path], arguments: list[str], sentence: str
) -> None:
    files = [] if arguments[0].endswith(".safetensors") else members
    assert sentence in refused("compare", *files, *arguments)
