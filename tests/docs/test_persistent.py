"""The code of the pages on persistent rounds runs as it stands there and does what they say; so do
the examples of persistent training.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doc_pages import Small, pattern_images, text_of
from guide_pages import commands, run_page
from torch.utils.data import DataLoader

import onefold as of
from onefold.explore.persistent.kernels import kernels


@pytest.fixture(scope="module")
def images() -> tuple[DataLoader, DataLoader]:
    return pattern_images()


@pytest.fixture
def own(
    images: tuple[DataLoader, DataLoader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What the pages say stands for the reader's own."""
    monkeypatch.chdir(tmp_path)
    return {"network": Small, "loader": images[0], "validation": images[1]}


def test_the_guide(root: Path, own: dict[str, Any], images: tuple[DataLoader, DataLoader]) -> None:
    names = run_page(root, "guides/persistent_rounds.md", own)
    run = names["run"]
    assert len(run.solutions) == 3
    assert min(run.scores) > 0.8
    assert type(names["best"]) is Small
    assert of.evaluate(names["best"], images[1]).accuracy == max(run.scores)
    assert of.evaluate(names["ensemble"], images[1]).accuracy > 0.8
    weights = [run.network(k).first.weight for k in range(3)]
    assert all((weights[i] - weights[j]).norm() > 0.1 for i in range(3) for j in range(i))
    groups = {name: [group.module for group in names[name].groups] for name in ("head", "strong")}
    assert groups == {"head": ["last"], "strong": ["first", "norm", "last"]}
    assert names["control"].control
    assert names["aside"].mirror
    assert (names["again"].round, len(names["again"].solutions)) == (3, 3)
    assert of.evaluate(names["result"].model, images[1]).accuracy > 0.8


def test_the_command_of_the_guide(root: Path, own: dict[str, Any], onefold: Callable) -> None:
    ((_, *command),) = commands(root, "guides/persistent_rounds.md")
    command[command.index("--epochs") + 1] = "1"
    done = onefold(*command)
    assert done.status == 0, done.err
    assert Path("rounds/best.safetensors").exists()


def test_how_rounds_work(root: Path, own: dict[str, Any]) -> None:
    names = run_page(root, "how_it_works/persistent_neurons.md", own)
    assert names["run"].steps == len(own["loader"])
    page = text_of(root, "how_it_works/persistent_neurons.md")
    assert [name for name in kernels.names() if f"| `{name}` |" not in page] == []


def run_example(root: Path, folder: Path, code: str) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(root / "src"), str(root / "examples"))),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_draws_trajectories_that_find_another_well(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    printed = run_example(root, tmp_path, "from persistent import main; main('picture.svg')")
    lowest = float(re.search(r"has the height (-\d+\.\d+)", printed)[1])  # type: ignore[index]
    best = {
        name: float(re.search(rf"^{name}.* (-\d+\.\d+)$", printed, re.MULTILINE)[1])
        for name in ("persistent rounds", "restarts nearby")
    }  # type: ignore[index]
    assert best["persistent rounds"] < lowest + 0.05 < best["restarts nearby"]
    assert (tmp_path / "picture.svg").read_text().startswith("<svg")


def test_the_example_of_many_minima_runs(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    printed = run_example(
        root, tmp_path, "import many_minima as m; m.EPOCHS = 4; m.ROUNDS = 2; m.main(1)"
    )
    for row in ("disagreement of two", "ensemble", "aligned and folded", "gates over layers"):
        assert re.search(rf"^{row} +\d+\.\d+ +\d+\.\d+$", printed, flags=re.MULTILINE), (
            row,
            printed,
        )
