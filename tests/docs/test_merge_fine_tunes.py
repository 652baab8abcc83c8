"""The guide on fine-tunes of one base runs as it stands, and its figures are those of the files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_checkpoints as tiny
import torch
from doc_pages import text_of
from fine_tunes import family
from guide_pages import blocks, commands, run_page

from onefold.checkpoints.methods import filters, methods

PAGE, EVIDENCE = "guides/merge_fine_tunes.md", "evidence/checkpoints.md"


@pytest.fixture
def folders(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path, name in zip(family(tmp_path, tiny.llama), ("base", "code", "math"), strict=True):
        Path(path).rename(tmp_path / name)
    (text,) = blocks(root, PAGE, "yaml")
    (tmp_path / "document.yaml").write_text(text)


def test_the_commands(root: Path, folders: None, onefold: Callable) -> None:
    for words in commands(root, PAGE):
        assert words[0] == "onefold"
        found = onefold(*words[1:], *(["--force"] if Path("merged").exists() else []))
        assert found.status == 0, found.err
    assert set(tiny.stored(Path("merged"))) == set(tiny.stored(Path("base")))


def test_the_code(root: Path, folders: None) -> None:
    tensors = {name: torch.randn(4, 6) for name in ("code", "math", "base")}
    found = run_page(root, PAGE, tensors)
    assert found["report"].path.name == "merged"
    assert [tensor.shape for tensor in found["merged"]] == [(4, 6)] * 3


def test_the_methods_and_figures(root: Path) -> None:
    section = text_of(root, PAGE).split("## Which method")[1].split("## What is written")[0]
    named = set(re.findall(r"`([a-z_]+)`", section))
    assert named <= {*methods.names(), *filters.names(), "finish"}
    kept = {
        row[1].replace("\\", "").split(" (")[0]: float(row[8])
        for line in text_of(root, EVIDENCE).splitlines()
        if len(row := [cell.strip() for cell in line.split("|")]) == 12 and row[8][:1].isdigit()
    }
    assert round(kept["tsv_m"]) == 97 <= kept["swudi"]
    assert round(kept["task_arithmetic"]) == 95
    assert round(kept["linear"]) == 91
    assert round(kept["model_stock"]) == 83
    for name in ("ties", "dare_ties", "della", "breadcrumbs", "sce"):
        assert abs(kept[name] - kept["task_arithmetic"]) < 1
