"""The code of docs/persistent_neurons.md runs as it stands there and does what the page says; so do
the examples of persistent training.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from doc_pages import Small, pattern_images, run_section, untested_sections
from torch.utils.data import DataLoader

import onefold as of

PAGE = "persistent_neurons.md"


@pytest.fixture(scope="module")
def images() -> tuple[DataLoader, DataLoader]:
    return pattern_images()


@pytest.fixture
def section(
    root: Path,
    images: tuple[DataLoader, DataLoader],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    monkeypatch.chdir(tmp_path)
    own = {"network": Small, "loader": images[0], "validation": images[1]}
    return lambda title, **names: run_section(root, PAGE, title, own | names)


def test_every_block_of_the_page_belongs_to_a_test_here(root: Path) -> None:
    assert untested_sections(root, PAGE, Path(__file__).read_text()) == []


def test_a_plain_loop(section: Any, images: tuple[DataLoader, DataLoader]) -> None:
    names = section("In a plain loop")
    run = names["run"]
    assert len(run.solutions) == 3
    assert min(run.scores) > 0.8
    assert type(names["best"]) is Small
    assert of.evaluate(names["best"], images[1]).accuracy == max(run.scores)
    assert of.evaluate(names["ensemble"], images[1]).accuracy > 0.8
    weights = [run.network(k).first.weight for k in range(3)]
    assert all((weights[i] - weights[j]).norm() > 0.1 for i in range(3) for j in range(i))


def test_what_repels_and_how(section: Any) -> None:
    names = section("What repels, and how")
    groups = {
        name: [group.module for group in names[name].groups] for name in ("head", "outer", "strong")
    }
    assert groups == {
        "head": ["last"],
        "outer": ["first", "last"],
        "strong": ["first", "norm", "last"],
    }
    assert names["aside"].mirror
    assert names["control"].control


def test_stopping_and_going_on(section: Any) -> None:
    names = section("Stopping and going on")
    assert (names["again"].round, len(names["again"].solutions)) == (1, 1)
    assert names["again"].order_seed != names["run"].order_seed


def test_then_align_fold_gate(section: Any, images: tuple[DataLoader, DataLoader]) -> None:
    run = section("In a plain loop")["run"]
    names = section("Then: align, fold, gate", run=run)
    assert type(names["folded"]) is Small
    assert of.evaluate(names["folded"], images[1]).accuracy > 0.8
    assert of.evaluate(names["gated"], images[1]).accuracy > 0.8


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
