"""`onefold compare` on folders, without a network and data."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints.comparison.folders import network, put, tuned
from safetensors.torch import save_file

from onefold.report import Report


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    base = network(0)
    states = {"base": base, "a": tuned(base, 1), "b": network(3)}
    return [put(tmp_path / name, state) for name, state in states.items()]


def test_a_table_and_advice(onefold: Callable, folders: list[Path]) -> None:
    base, *members = folders
    found = onefold("compare", *members, "--base", base)
    assert found.status == 0, found.err
    lines = found.out.splitlines()
    assert lines[0] == "Changes from the base base."
    assert all(len(line) <= 80 for line in lines[:4])
    assert [line.split()[0] for line in lines[1:4]] == ["member", "a", "b"]
    assert "b does not stem from this base" in found.out


def test_json_and_a_report(onefold: Callable, folders: list[Path], tmp_path: Path) -> None:
    found = onefold("compare", *folders, "--json")
    assert json.loads(found.out)["paths"].keys() == {"base", "a", "b"}
    page = tmp_path / "report.html"
    assert onefold("compare", *folders, "--report", page).status == 0
    text = page.read_text(encoding="utf-8")
    assert "layers.1" in text
    data = tmp_path / "report.json"
    assert onefold("compare", *folders, "--report", data).status == 0
    assert Report.from_json(data.read_text(encoding="utf-8")).title == "3 checkpoints compared"


def test_refusals(refused: Callable, folders: list[Path], tmp_path: Path) -> None:
    assert "two checkpoints or more" in refused("compare", folders[0])
    assert "--task is for networks that are run" in refused("compare", *folders, "--task", "auto")
    assert "neither a folder or file" in refused("compare", folders[0], tmp_path / "nowhere")
    weights = folders[0] / "model.safetensors"
    assert ".html or .json" in refused("compare", *folders, "--report", weights)


def test_the_base_is_of_files_alone(refused: Callable, folders: list[Path]) -> None:
    files = [folder / "model.safetensors" for folder in folders]
    networks = ["--model", "digits?width=4", "--data", "sklearn:digits"]
    told = refused("compare", *files[1:], "--base", files[0], *networks)
    assert "--base is for a comparison of files alone" in told


def test_torch_is_not_imported(folders: list[Path]) -> None:
    code = (
        "import sys\nfrom onefold.cli import run\n"
        "status = run(['compare', *sys.argv[1:]])\n"
        "assert not status and 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, folders)], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_an_adapter_beside_a_whole_model_is_told_as_what_it_is(
    onefold: Callable, refused: Callable, folders: list[Path], tmp_path: Path
) -> None:
    adapters = []
    for seed in range(2):
        adapters.append(tmp_path / f"lora{seed}")
        adapters[-1].mkdir()
        (adapters[-1] / "adapter_config.json").write_text("{}")
        state = {
            f"base_model.model.layers.0.lora_{part}.weight": torch.full((2, 4), 1.0 + seed)
            for part in "AB"
        }
        save_file(state, adapters[-1] / "adapter_model.safetensors")
    for given in ([folders[0], adapters[0]], [adapters[0], "--base", folders[0]]):
        told = refused("compare", *given)
        assert f"{adapters[0]} holds an adapter and {folders[0]} a whole model" in told
        assert "merge_and_unload of peft" in told
    found = onefold("compare", *adapters)
    assert found.status == 0
    assert "These are adapters and no whole models" in " ".join(found.out.split())
