"""The part of every member's file that a command reads: options, recipes, and what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

import onefold as of

MODEL = ["--model", "digits?width=4"]
DATA = [*MODEL, "--data", "sklearn:digits", "--samples", "200"]


@pytest.fixture
def files(members: list[Path], tmp_path: Path) -> list[Path]:
    """Two members as training programs leave them, with a better network beside each."""
    made = []
    for k, member in enumerate(members[:2]):
        state = of.load(member)
        zeros = {f"model.{name}": torch.zeros_like(value) for name, value in state.items()}
        inner = {f"net.{name}": value for name, value in state.items()}
        content = {"state_dict": zeros, "ema": {"module": {**inner, "loss.w": torch.ones(2)}}}
        torch.save(content, tmp_path / f"{k}.ckpt")
        made.append(tmp_path / f"{k}.ckpt")
    return made


ASKED = ["--entry", "ema.module", "--drop", "loss*"]


def test_a_merge_and_its_recipe(
    onefold: Callable, members: list[Path], files: list[Path], tmp_path: Path
) -> None:
    plain, part = tmp_path / "plain.safetensors", tmp_path / "part.safetensors"
    assert onefold("merge", *members[:2], *DATA, "-o", plain).status == 0
    result = onefold("merge", *files, *DATA, *ASKED, "-o", part, "--report", tmp_path / "r.html")
    assert result.status == 0, result.err
    assert "Took the prefix 'net.' off every name" in result.err
    assert "entry ema.module, drop loss*" in (tmp_path / "r.html").read_text()
    expected = of.load(plain)
    for name, value in of.load(part).items():
        assert torch.equal(value, expected[name]), name
    recipe = tmp_path / "part.recipe.yaml"
    if not recipe.exists():
        recipe = next(p for p in tmp_path.glob("part*.y*ml"))
    assert yaml.safe_load(recipe.read_text())["reading"]["entry"] == "ema.module"
    again = onefold("merge", recipe, "-o", tmp_path / "again.safetensors")
    assert again.status == 0, again.err
    assert (tmp_path / "again.safetensors").read_bytes() == part.read_bytes()


@pytest.mark.parametrize(
    "asked", [ASKED, ["--entry", "ema.module", "--prefix", "net."], [*ASKED, "--keys", "net"]]
)
def test_other_commands_read_the_same_part(
    onefold: Callable, files: list[Path], members: list[Path], asked: list[str]
) -> None:
    score = [*MODEL, "--data", "sklearn:digits", "--samples", "100"]
    plain = onefold("eval", *members[:2], *score, "--json")
    part = onefold("eval", *files, *score, *asked, "--json")
    assert part.status == 0, part.err
    assert part.out.split('"accuracy"')[1] == plain.out.split('"accuracy"')[1]
    for on_disk in ([], ["--on-disk"]):
        told = onefold("align", *files, *DATA, *asked, *on_disk)
        assert told.status == 0, told.err
    told = onefold("inspect", "digits?width=4", files[0], "--shape", "1,8,8", *asked)
    assert told.status == 0, told.err


def test_what_does_not_fit_is_one_sentence(
    refused: Callable, files: list[Path], tmp_path: Path
) -> None:
    end = ("-o", tmp_path / "f.safetensors")
    assert "no state dict 'emma'" in refused("merge", *files, *DATA, "--entry", "emma", *end)
    assert "prefix='net.'" in refused("merge", *files, *DATA, "--entry", "ema.module", *end)
    told = refused("merge", *files, *DATA, "--entry", "ema.module", "--keys", "nets", *end)
    assert "the pattern 'nets' of keys" in told
