"""The code of the guide on tasks runs and does what the page says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from guide_pages import run_page
from task_cases import CASES, task_members

import onefold as of
from onefold.tasks import tasks

PAGE = "guides/tasks.md"


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    tasks.unregister("counts")


def test_the_guide_on_tasks(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models, labelled = task_members("regression"), CASES["regression"].data(seed=3)
    counts = [(x, torch.poisson(y.exp().clamp(max=20.0))) for x, y in labelled]
    names = run_page(root, PAGE, {"models": models, "labelled": labelled, "counts": counts})
    assert "regression" in capsys.readouterr().out
    found = of.evaluate(names["result"].model, counts, task="counts")
    assert found.task == "counts"
    assert found.by == "deviance"


def test_every_task_stands_in_the_table(root: Path) -> None:
    text = (root / "docs" / PAGE).read_text(encoding="utf-8")
    for name in tasks.names():
        assert f"| `{name}` |" in text
        for score in tasks.get(name).scores:
            assert score.label in text
