"""`onefold merge --budgets`: rows for folds of other widths, and a fold that is wider by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import onefold as library
from onefold.sources import build_model

DIGITS = ("--model", "digits?width=8", "--data", "sklearn:digits", "--samples", "300")


@pytest.fixture
def members(tmp_path: Path) -> list[Path]:
    paths = []
    for seed in range(2):
        torch.manual_seed(seed)
        paths.append(tmp_path / f"m{seed}.safetensors")
        library.save(build_model("digits?width=8"), paths[-1])
    return paths


def test_budgets_are_rows_among_the_scores(
    members: list[Path], tmp_path: Path, onefold: Callable
) -> None:
    out = tmp_path / "folded.safetensors"
    told = onefold(
        *("merge", *members, *DIGITS, "--align", "none", "--fold", "least_squares"),
        *("--budgets", "1x,1.5x,2x", "--eval-samples", "100", "-o", out),
    )
    assert told.status == 0, told.err
    scores = json.loads((tmp_path / "folded.report.json").read_text())["data"]["scores"]
    assert {"folded to 1x", "folded to 1.5x", "folded to 2x", "folded"} <= set(scores)
    assert "folded to 1.5x" in told.out


def test_a_fold_to_a_budget_is_written_with_its_widths(
    members: list[Path], tmp_path: Path, onefold: Callable
) -> None:
    out = tmp_path / "wide.safetensors"
    told = onefold(
        *("merge", *members, *DIGITS, "--align", "none", "--fold", "least_squares"),
        *("--budget", "2x", "--eval-samples", "100", "-o", out),
    )
    assert told.status == 0, told.err
    wide = library.load_resized(lambda: build_model("digits?width=8"), out)
    own = build_model("digits?width=8")
    assert sum(p.numel() for p in wide.parameters()) > sum(p.numel() for p in own.parameters())
    found = onefold("eval", out, "--model", "digits?width=8", "--data", "sklearn:digits")
    assert found.status == 0, found.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--budgets", "half"], "must be a factor of one network's multiply-adds"),
        (["--budgets", "1.5x"], "scored on labelled data"),
        (["--budgets", "1.5x", "--eval-samples", "9", "--until", "50%"], "leave out --until"),
    ],
)
def test_mistakes(
    members: list[Path], tmp_path: Path, onefold: Callable, words: list[str], told: str
) -> None:
    found = onefold("merge", *members, *DIGITS, *words, "-o", tmp_path / "folded.safetensors")
    assert found.status != 0
    assert told in " ".join(found.err.split())
