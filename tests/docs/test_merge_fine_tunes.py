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

from onefold.checkpoints import merge_states
from onefold.checkpoints.methods import filters, method_of, methods

PAGE, EVIDENCE = "guides/merge_fine_tunes.md", "evidence/checkpoints.md"
REFERENCE = "reference/checkpoints.md"


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


def test_a_method_of_ones_own(root: Path, folders: None, onefold: Callable) -> None:
    Path("mine.py").write_text(blocks(root, REFERENCE)[-1])
    Path("own.yaml").write_text(blocks(root, REFERENCE, "yaml")[-1])
    (words,) = [words for words in commands(root, REFERENCE) if "mine.py" in " ".join(words)]
    try:
        refused = onefold("merge", "own.yaml", "-o", "by_document")
        assert "mine.py; read it, and give --trust" in " ".join(refused.err.split())
        assert not Path("by_document").exists()
        made = onefold(*words[1:])
        assert made.status == 0, made.err
        found = onefold("merge", "own.yaml", "--trust", "-o", "by_document")
        assert found.status == 0, found.err
        states = [tiny.stored(Path(name)) for name in ("base", "code", "math")]
        for folder, share in (("merged", 0.5), ("by_document", 0.3)):
            mine = method_of("towards_second", {"share": share})
            expected = merge_states(states[1:], mine, base=states[0])
            stored = tiny.stored(Path(folder))
            assert all(torch.equal(stored[name], expected[name]) for name in stored)
            assert any(not torch.equal(stored[name], states[0][name]) for name in stored)
    finally:
        methods.unregister("towards_second")


def test_the_number_of_methods(root: Path) -> None:
    count = len({entry.value for entry in methods})
    assert f"| {count} methods for" in text_of(root, "methods.md")
    assert f"TSV-M and {count - 4} others" in " ".join((root / "README.md").read_text().split())
