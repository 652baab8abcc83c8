"""`onefold prune`: a narrower network with its recipe and report, and mistakes in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import onefold as library
from onefold.errors import WeightsError
from onefold.sources import build_model

DIGITS = ("--model", "digits", "--data", "sklearn:digits")


@pytest.fixture
def network(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = build_model("digits")
    library.save(model, tmp_path / "whole.safetensors")
    return tmp_path / "whole.safetensors"


def test_a_network_is_pruned_scored_and_made_again(
    network: Path, tmp_path: Path, onefold: Callable
) -> None:
    out = tmp_path / "small.safetensors"
    told = onefold(
        *("prune", network, *DIGITS, "--budget", "0.5x", "--samples", "300"),
        *("--eval-samples", "200", "--report", tmp_path / "page.html", "-o", out),
    )
    assert told.status == 0, told.err
    assert "times the multiply-adds" in told.out
    assert "The pruned network" in told.out
    small = library.load_resized(lambda: build_model("digits"), out)
    assert _count(small) < _count(build_model("digits"))
    facts = json.loads((tmp_path / "small.report.json").read_text())["data"]
    assert facts["pruning"]["factors"]["multiply-adds"] <= 0.5
    assert set(facts["scores"]) == {"before", "pruned"}
    assert "What was taken out" in (tmp_path / "page.html").read_text()
    again = onefold("prune", tmp_path / "small.recipe.yaml", "-o", tmp_path / "again.safetensors")
    assert again.status == 0, again.err
    one, two = library.load(out), library.load(tmp_path / "again.safetensors")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_polish_by_a_flag(network: Path, tmp_path: Path, onefold: Callable) -> None:
    out = tmp_path / "small.safetensors"
    told = onefold(
        *("prune", network, *DIGITS, "--width", "0.5", "--samples", "300", "--polish", "1"),
        *("-o", out),
    )
    assert told.status == 0, told.err
    facts = json.loads((tmp_path / "small.report.json").read_text())["data"]
    assert facts["pruning"]["polished"]["passes"] == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "needs one of --width and --budget"),
        (["--width", "0.5", "--budget", "0.5x"], "needs one of --width and --budget"),
        (["--width", "2"], "less than or equal to 1"),
        (["--budget", "half"], "must be a factor of one network's multiply-adds"),
    ],
)
def test_mistakes(
    network: Path, tmp_path: Path, onefold: Callable, words: list[str], told: str
) -> None:
    found = onefold("prune", network, *DIGITS, *words, "-o", tmp_path / "small.safetensors")
    assert found.status != 0
    assert told in " ".join(found.err.split())
    assert not (tmp_path / "small.safetensors").exists()


def test_a_pruned_file_is_a_network_of_other_commands(
    network: Path, tmp_path: Path, onefold: Callable
) -> None:
    out = tmp_path / "small.safetensors"
    made = onefold(
        *("prune", network, *DIGITS, "--width", "0.5", "--samples", "300"),
        *("--eval-samples", "200", "-o", out),
    )
    assert made.status == 0, made.err
    found = onefold("eval", out, *DIGITS, "--split", "test", "--samples", "200", "--json")
    assert found.status == 0, found.err
    facts = json.loads((tmp_path / "small.report.json").read_text())["data"]
    assert f"{facts['scores']['pruned']['accuracy']}" in found.out
    with pytest.raises(WeightsError, match="load_resized"):
        library.load(out, build_model("digits"))


def test_without_data_or_with_two_networks_nothing_begins(
    network: Path, tmp_path: Path, onefold: Callable
) -> None:
    out = ("-o", tmp_path / "small.safetensors")
    found = onefold("prune", network, "--model", "digits", "--width", "0.5", *out)
    assert "so give --data" in " ".join(found.err.split())
    found = onefold("prune", network, network, *DIGITS, "--width", "0.5", *out)
    assert found.status != 0


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
