"""What the guide on sources says of checkpoints, names and a user's own functions is so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from doc_pages import text_of
from guide_pages import blocks, commands, run_page

import onefold as of
from onefold.sources import build_data, build_model, data_sources, model_sources
from onefold.sources.images import CIFAR, IMAGENET

PAGE = "guides/sources.md"


def test_checkpoints_become_networks(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_page(root, PAGE, {})
    folded = of.load(tmp_path / "folded.safetensors")
    assert folded.keys() == names["models"][0].state_dict().keys()


def own_files(root: Path, folder: Path) -> tuple[str, str]:
    """The functions of the page in files."""
    _, load, build = blocks(root, PAGE)
    (folder / "data.py").write_text(f"import torch\n\n{load}")
    (folder / "model.py").write_text(f"from torch import nn\n\n{build}")
    return f"{folder / 'data.py'}:load", f"{folder / 'model.py'}:build"


def test_the_functions_of_the_page_work_in_every_command(
    root: Path, onefold: Callable, tmp_path: Path
) -> None:
    data, model = own_files(root, tmp_path)
    assert sum(len(y) for _, y in build_data(data, limit=250, skip=20)) == 250
    files = []
    for seed in range(2):
        torch.manual_seed(seed)
        files.append(of.save(build_model(f"{model}?width=8"), tmp_path / f"{seed}.safetensors"))
    flags = ["--model", f"{model}?width=8", "--data", data]
    merged = onefold(
        "merge", *files, *flags, "--eval-split", "test", "-o", tmp_path / "f.safetensors"
    )
    assert merged.status == 0, merged.err
    trained = onefold("subspace", *flags, "--epochs", "1", "-o", tmp_path / "run")
    assert trained.status == 0, trained.err


def test_the_command_of_the_page(
    root: Path, onefold: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(root, PAGE, {})  # writes the members
    own_files(root, tmp_path)
    ((_, *command),) = commands(root, PAGE)
    done = onefold(*command, "--force")
    assert done.status == 0, done.err


def test_all_names_and_defaults_stand_there(root: Path) -> None:
    page = " ".join(text_of(root, PAGE).split())
    for registry in (data_sources, model_sources):
        for entry in registry:
            if entry.value.__module__.startswith("onefold."):
                assert f"`{entry.name}" in page, entry.name
    for values in (*CIFAR, *IMAGENET):
        assert any(", ".join(f"{v:.{d}f}" for v in values) in page for d in (3, 4)), values
