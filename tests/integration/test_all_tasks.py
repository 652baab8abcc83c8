"""Every task through every function that scores or learns, on tiny networks."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path

import pytest
import torch
from task_cases import CASES, task_members
from torch import Tensor, nn

import onefold
from onefold.fold.average import folds
from onefold.tasks import tasks

TASKS = tasks.names()
BUILT_IN = sorted(CASES)


def pair(task: str) -> list[nn.Module]:
    return task_members(task)


@functools.cache
def data(task: str) -> tuple[list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]]:
    return CASES[task].data(160, seed=0, size=32), CASES[task].data(96, seed=7, size=32)


def test_there_is_an_example_of_every_task() -> None:
    assert set(BUILT_IN) <= set(TASKS)
    assert len(BUILT_IN) == 7


@pytest.mark.parametrize("task", BUILT_IN)
def test_scores_agree_whether_named_or_told(task: str) -> None:
    test = data(task)[1]
    found = onefold.evaluate_all(pair(task), test)
    assert found.members[0].task == task
    assert found.to_dict() == onefold.evaluate_all(pair(task), test, task=task).to_dict()
    kinds = tasks.get(task).scores
    assert list(found.members[0].values) == [kind.name for kind in kinds]
    assert all(math.isfinite(value) for value in found.ensemble.values.values())
    assert math.isfinite(found.members[0].error)
    together = onefold.Ensemble(pair(task), task=task)
    assert onefold.evaluate(together, test).primary == pytest.approx(
        found.ensemble.primary, rel=1e-4
    )
    json.dumps(found.to_dict())
    gap = onefold.measure.difference(*found.members)
    assert gap.paired
    assert gap.gain == pytest.approx(
        found.members[0].kind.better(found.members[0].primary)
        - found.members[1].kind.better(found.members[1].primary)
    )


@pytest.mark.parametrize("task", BUILT_IN)
@pytest.mark.parametrize("fold", folds.names())
def test_every_fold_of_every_task(task: str, fold: str) -> None:
    train, test = data(task)
    result = onefold.merge(pair(task), train, fold=fold)
    scores = onefold.evaluate(result.model, test)
    assert scores.task == task
    assert all(math.isfinite(value) for value in scores.values.values())
    if fold == "auto":
        assert result.report.folded["scored by"] == tasks.get(task).scores[0].name
        worst = min(onefold.evaluate(network, train[-1:]).rank for network in pair(task))
        assert onefold.evaluate(result.model, train[-1:]).rank >= worst
    str(result.report)
    json.dumps(result.report.to_dict())


@pytest.mark.parametrize("task", BUILT_IN)
def test_polish_brings_a_network_nearer_to_the_ensemble(task: str) -> None:
    train, _ = data(task)
    unlabelled = [x for x, _ in train]
    first, second = pair(task)
    found = onefold.polish(first, [first, second], unlabelled, passes=20, lr=5e-4, task=task)
    assert found.task == task
    assert found.divergence[-1] < found.divergence[0]
    by_labels = onefold.polish(first, [first, second], train, passes=1)
    assert by_labels.task == task
    merged = onefold.merge([first, second], unlabelled, fold="average", polish=1, task=task)
    assert merged.report.polished["task"] == task


@pytest.mark.parametrize("task", BUILT_IN)
@pytest.mark.parametrize("labelled", [True, False], ids=["labels", "no labels"])
def test_the_default(task: str, labelled: bool) -> None:
    train, test = data(task)
    given = train if labelled else [x for x, _ in train]
    result = onefold.merge(pair(task), given, task=task)
    assert result.report.folded["choice"]
    assert onefold.evaluate(result.model, test).task == task


@pytest.mark.parametrize("task", BUILT_IN)
@pytest.mark.parametrize("level", ["model", "layer"])
def test_gates(task: str, level: str) -> None:
    train, test = data(task)
    result = onefold.fit_gates(onefold.SoftMerge(pair(task), level=level), train, steps=20)
    scores = onefold.evaluate(result.model, test)
    assert scores.task == task
    assert all(of_one.task == task for of_one in result.scores.values())
    assert math.isfinite(scores.primary)
    json.dumps(result.to_dict())


@pytest.mark.parametrize("task", BUILT_IN)
def test_comparison_paths_and_pairs(task: str) -> None:
    train, test = data(task)
    first, second = pair(task)
    told = onefold.compare_networks([first, second], [x for x, _ in train], task=task)
    assert told.sentences
    json.dumps(told.to_dict())
    path = onefold.barrier(first, second, test, points=5)
    assert path.scores[0].task == task
    assert path.loss_kind.name == tasks.get(task).loss
    assert path.barrier >= 0
    assert path.dip >= 0
    corner = onefold.measure.triangle(first, second, first, test, resolution=1)
    assert len(corner.scores) == 3
    pairs = onefold.measure_pairs([first, second], test, points=3)
    assert float(pairs.plain.barriers[0, 1]) >= 0
    str(pairs)


@pytest.mark.parametrize("task", BUILT_IN)
def test_reports(task: str, tmp_path: Path) -> None:
    train, test = data(task)
    result = onefold.merge(pair(task), train, fold="average")
    page = tmp_path / "report.html"
    onefold.write_report(result, pair(task), test, page, calibration=train)
    text = page.read_text(encoding="utf-8")
    for kind in tasks.get(task).scores[:2]:
        assert kind.label in text
    gates = onefold.fit_gates(onefold.SoftMerge(pair(task), level="model"), train, steps=5)
    onefold.write_report(gates, pair(task), test, tmp_path / "gates.html")


@pytest.mark.parametrize("task", BUILT_IN)
def test_subspaces_and_persistent_rounds(task: str) -> None:
    train, test = data(task)
    space = onefold.Subspace(CASES[task].build(), vertices=2, seed=0)
    assert math.isfinite(onefold.evaluate(space.midpoint(data=train), test, task=task).loss)
    network = CASES[task].build()
    run = onefold.PersistentTraining(
        network, 2, kernel="function", reference=train[0], task=task, seed=0
    )
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    found = tasks.get(task)()
    for batch in onefold.batches.batches(train[:4]):
        rows = found.reader(onefold.inference.ANY, "training").rows(network(*batch.args), batch)
        optimizer.zero_grad()
        (found.losses(rows.values, rows.targets).mean() + run.penalty()).backward()
        optimizer.step()
        run.step()
    assert math.isfinite(float(run.penalty().detach()))
