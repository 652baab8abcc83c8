"""Outputs read through a training: told by the first batch, checked in all others."""

from __future__ import annotations

import math

import pytest
import torch
from task_cases import CASES

from onefold.batches import Batch
from onefold.errors import DataError, SettingError
from onefold.inference import ANY
from onefold.tasks import Rows, Scoring, tasks
from onefold.tasks.reading import Reading, in_nats, mean_loss, tempered


def reading(task: str = "auto", **how: object) -> Reading:
    return Reading(Scoring(task, **how), ANY, "training")  # type: ignore[arg-type]


@pytest.mark.parametrize("task", list(CASES))
def test_the_first_batch_tells_the_task_and_a_guess_loses(task: str) -> None:
    (x, y), *_ = CASES[task].data(64)
    found = reading()
    with pytest.raises(RuntimeError, match="no batch has told"):
        _ = found.told
    outputs = CASES[task].network(0)(x)
    rows = found.rows(outputs, Batch((x,), {}, y))
    assert found.told.name == task == found.scoring.named.name  # type: ignore[union-attr]
    assert found.kind.name == CASES[task].score
    assert found.output.class_axis == {
        "segmentation": 1,
        "token_classification": -1,
        "language_modeling": -1,
    }.get(task)
    guess = found.told.guess(rows.values, rows.targets)
    assert guess.shape == rows.values.shape
    assert mean_loss(found.told, rows) < mean_loss(found.told, Rows(guess, rows.targets))
    assert in_nats(found.told) == (task != "regression") == tempered(found.told)


def test_a_guess_of_classes_loses_their_logarithm_and_one_of_numbers_their_variance() -> None:
    task, labels = tasks.get("classification")(), torch.arange(30) % 5
    guess = task.guess(torch.randn(30, 5), labels)
    assert float(task.losses(guess, labels).mean()) == pytest.approx(math.log(5))
    task, numbers = tasks.get("regression")(), torch.randn(40, 3).double()
    numbers[3, 1] = torch.nan
    guess = task.guess(torch.randn(40, 3).double(), numbers)
    torch.testing.assert_close(guess[7], numbers.nanmean(0))
    assert bool(guess.isfinite().all())


def test_labels_of_a_further_batch_are_checked_without_outputs() -> None:
    found = reading()
    x = torch.randn(4, 3)
    assert not found.check(Batch((x,), {}, torch.arange(4) % 3))  # nothing is known yet
    found.rows(x, Batch((x,), {}, torch.arange(4) % 3))
    assert found.check(Batch((x[:2],), {}, torch.tensor([2, 0]), 7))
    with pytest.raises(DataError, match="range from 0 to 3"):
        found.check(Batch((x[:2],), {}, torch.tensor([3, 0]), 7))
    assert not found.check(Batch((x,), {}, torch.zeros(4, 2)))  # of another shape: with outputs
    assert not found.check(Batch((x,)))


def test_a_batch_without_labels_that_count_has_no_loss() -> None:
    found = reading("token_classification")
    outputs = torch.randn(2, 5, 3, requires_grad=True)
    rows = found.rows(outputs, Batch((outputs,), {}, torch.full((2, 5), -100)))
    loss = mean_loss(found.told, rows)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss) == 0
    assert bool((outputs.grad == 0).all())


def test_half_precision_has_its_loss_in_float32() -> None:
    rows = Rows(torch.randn(6, 3).bfloat16(), torch.arange(6) % 3)
    assert mean_loss(tasks.get("classification")(), rows).dtype == torch.float32


def test_a_score_that_the_task_has_not_is_refused_at_once() -> None:
    with pytest.raises(SettingError, match="no score 'accuracy' of regression"):
        reading("regression", by="accuracy")
