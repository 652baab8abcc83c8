"""The code of the pages on persistent rounds runs as it stands there and does what they say."""

from __future__ import annotations

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
