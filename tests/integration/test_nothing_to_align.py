"""Partial merges, soft merges, comparisons, commands and recipes say that nothing was aligned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from still_networks import Partly, Sorted, floats, pair, words
from torch import Tensor, nn

import onefold
from onefold.errors import NothingToAlignError
from onefold.recipe import check, read
from onefold.recipe.merge.run import MergeRunning
from onefold.recipe.merge.run import make as carry_out
from onefold.weights import load


def test_partial_merges_say_it() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x).sort(-1).values
            return self.last(self.second(h).sort(-1).values)

    networks = pair(Deep)
    with pytest.raises(NothingToAlignError, match="sort"):
        onefold.partial_merge(networks, floats(), until="first", align="permutation")
    done = onefold.partial_merge(networks, floats(), until="first")
    assert done.alignment is None
    assert "nothing was aligned" in done.report.warnings[0]
    assert done.report.warnings[0] in str(done.report)


def test_comparisons_say_it() -> None:
    labelled = [
        (x, torch.randint(3, (32,), generator=torch.Generator().manual_seed(0))) for x in floats()
    ]
    found = onefold.measure_pairs(pair(Sorted), labelled, points=3)
    assert found.aligned is None
    assert "sort" in found.note
    assert found.note in str(found)
    words_labelled = [
        (x, torch.randint(3, (64,), generator=torch.Generator().manual_seed(0))) for x in words()
    ]
    partly = onefold.measure_pairs(pair(Partly), words_labelled, points=3)
    assert partly.aligned is not None
    assert partly.note.startswith("Only 1 of 4 feature spaces")
    assert partly.note in str(partly)


def test_soft_merges_say_it() -> None:
    labelled = [
        (x, torch.randint(3, (32,), generator=torch.Generator().manual_seed(0))) for x in floats()
    ]
    soft = onefold.SoftMerge(pair(Sorted), "layer", screen=False, data=labelled)
    assert soft.basis is not None
    assert any("sort" in note for note in soft.basis.notes)
    with pytest.raises(NothingToAlignError, match="sort"):
        onefold.SoftMerge(pair(Sorted), "layer", align="permutation", screen=False, data=labelled)
    words_labelled = [
        (x, torch.randint(3, (64,), generator=torch.Generator().manual_seed(0))) for x in words()
    ]
    partly = onefold.SoftMerge(
        pair(Partly), "layer", align="permutation", screen=False, data=words_labelled
    )
    assert partly.basis is not None
    assert any(note.startswith("only 1 of 4") for note in partly.basis.notes)


FACTORY = """
import torch
from torch import nn

class Sorted(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
    def forward(self, x):
        return self.c(self.b(self.a(x).sort(-1).values).sort(-1).values)

def network():
    return Sorted()

def data(split="train"):
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(32, 6, generator=generator), torch.randint(3, (32,), generator=generator))
        for _ in range(3)
    ]
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(FACTORY)
    for seed in (0, 1):
        torch.manual_seed(seed)
        layers = nn.ModuleDict({"a": nn.Linear(6, 8), "b": nn.Linear(8, 8), "c": nn.Linear(8, 3)})
        onefold.save(layers.state_dict(), tmp_path / f"{seed}.safetensors")
    return tmp_path


@pytest.mark.slow
def test_the_commands_say_it(files: Path, onefold: Callable[..., Any]) -> None:
    members = [files / "0.safetensors", files / "1.safetensors"]
    own = ("--model", f"{files}/own.py:network", "--data", f"{files}/own.py:data")
    done = onefold("merge", *members, *own, "-o", files / "out.safetensors")
    assert done.status == 0, done.err
    assert "warning: nothing was aligned" in done.err
    assert "order along an axis (sort)" in done.err
    asked = onefold("merge", *members, *own, "--align", "cca", "-o", files / "no.safetensors")
    assert asked.status != 0
    assert "Nothing in Sorted can be aligned" in asked.err
    assert "--align none" in asked.err
    assert not (files / "no.safetensors").exists()
    aligned = onefold("align", *members, *own)
    assert aligned.status != 0
    assert "sort" in aligned.err
    partly = onefold("merge", *members, *own, "--until", "a", "-o", files / "part.safetensors")
    assert partly.status == 0, partly.err
    assert "nothing was aligned" in partly.err


def test_a_recipe_that_names_no_matcher_stays_one(files: Path) -> None:
    content = {
        "model": f"{files}/own.py:network",
        "members": [str(files / "0.safetensors"), str(files / "1.safetensors")],
        "data": {"source": f"{files}/own.py:data"},
        "output": str(files / "made.safetensors"),
    }
    made = carry_out(check(content))
    assert "nothing was aligned" in made.warnings[0]
    again = read(files / "made.recipe.yaml", trust=True)
    assert again.align == "auto"
    assert carry_out(again, MergeRunning(force=True)).warnings == made.warnings
    with pytest.raises(NothingToAlignError):
        carry_out(check({**content, "align": "cca"}), MergeRunning(force=True))


KEPT: list[list[str]] = [["--resume", "kept"], ["--max-positions", "3"]]


@pytest.mark.slow
@pytest.mark.parametrize("more", [*KEPT, [*KEPT[0], *KEPT[1]]])
def test_what_only_a_computed_alignment_takes_is_no_error_where_nothing_can_be_moved(
    files: Path, onefold: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    monkeypatch.chdir(files)
    own = ["--model", "own.py:network", "--data", "own.py:data"]
    call = ["merge", "0.safetensors", "1.safetensors", *own, "-o"]
    assert onefold(*call, "plain.safetensors").status == 0
    done = onefold(*call, "out.safetensors", *more)
    assert done.status == 0, done.err
    assert done.err.count("warning: nothing was aligned") == 1
    assert "order along an axis (sort)" in done.err
    plain, out = (load(files / f"{name}.safetensors") for name in ("plain", "out"))
    assert all(torch.equal(value, plain[name]) for name, value in out.items())
    named = onefold(*call, "no.safetensors", *more, "--align", "cca")
    assert named.status != 0
    assert "Nothing in Sorted can be aligned" in named.err
    assert not (files / "no.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("more", KEPT, ids=lambda more: more[0])
@pytest.mark.parametrize(
    "way",
    [
        ["--align", "none", "--repair", "none"],
        ["--fold", "least_squares"],
        ["--fold", "least_squares", "--target", "pruning", "--repair", "none"],
        ["--alignment", "saved.safetensors"],
    ],
    ids=lambda way: "-".join(way[:2]).strip("-"),
)
def test_what_only_a_computed_alignment_takes_is_refused_where_none_is_computed(
    members: list[Path],
    tmp_path: Path,
    onefold: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    way: list[str],
    more: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    digits = ["--model", "digits?width=4", "--data", "sklearn:digits", "--samples", "100"]
    assert onefold("align", *members[:2], *digits, "-o", "saved.safetensors").status == 0
    done = onefold("merge", *members[:2], *digits, *way, *more, "-o", "out.safetensors")
    assert done.status == 2
    assert "computes none" in done.err
    assert more[0].strip("-").replace("-", "_") in done.err.replace("-", "_")
    assert not (tmp_path / "out.safetensors").exists()
    assert not (tmp_path / "kept").exists()


@pytest.mark.slow
def test_resuming_changes_no_bit(
    members: list[Path], tmp_path: Path, onefold: Callable[..., Any]
) -> None:
    digits = ["--model", "digits?width=4", "--data", "sklearn:digits", "--samples", "100"]
    plain, kept = tmp_path / "plain.safetensors", tmp_path / "kept.safetensors"
    assert onefold("merge", *members, *digits, "-o", plain).status == 0
    assert onefold("merge", *members, *digits, "--resume", tmp_path / "k", "-o", kept).status == 0
    assert all(torch.equal(v, load(kept)[k]) for k, v in load(plain).items())
