"""A task of a user's own in a file works wherever the tasks of this package do."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from guide_pages import blocks
from task_cases import CASES, task_members

import onefold
from onefold.tasks import tasks


@pytest.fixture
def counts(root: Path, tmp_path: Path) -> Iterator[str]:
    """The task of the guide, from a file."""
    (block,) = [text for text in blocks(root, "guides/tasks.md") if "tasks.register" in text]
    file = tmp_path / "my_task.py"
    file.write_text(block.split("\nprint(onefold")[0], encoding="utf-8")
    spec = importlib.util.spec_from_file_location("my_task", file)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    yield "counts"
    tasks.unregister("counts")


@pytest.mark.parametrize("fold", ["auto", "least_squares"])
def test_it_is_scored_and_merged(counts: str, fold: str) -> None:
    models = task_members("regression")
    data = [(x, y.exp().clamp(max=9.0).round()) for x, y in CASES["regression"].data(seed=4)]
    found = onefold.evaluate_all(models, data, task=counts)
    assert found.ensemble.task == counts
    assert found.ensemble.error > 0
    again = onefold.evaluate(models, data[::-1], task=counts)
    assert again.values == pytest.approx(found.ensemble.values)
    result = onefold.merge(models, data, fold=fold, polish=1, task=counts)
    assert onefold.evaluate(result.model, data, task=counts).by == "deviance"
    path = onefold.barrier(models[0], models[1], data, task=counts)
    assert path.scores[0].task == counts
