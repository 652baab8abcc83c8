"""Scores beside a training loop, and on a card: those of the task, with units and directions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from task_samples import scored
from torch import Tensor, nn

from onefold.integrations.model_card import model_card
from onefold.integrations.scoring import scores_of
from onefold.measure import Scores
from onefold.tasks import Metric, Multilabel

X = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
OFF = torch.tensor([[0.5, -0.5]]).expand(12, 2)


def largest(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs - labels).abs().amax(1)


def test_the_scores_of_a_loop_are_those_of_the_task() -> None:
    found = scores_of(nn.Identity(), [(X, X + OFF)], None)
    assert list(found) == ["rmse", "mae", "r2", "mse"]
    assert found["rmse"] == pytest.approx(0.5, rel=1e-6)
    named = scores_of(nn.Identity(), [(X, (X > 0).float())], None, Multilabel, [])
    assert named["mean_average_precision"] == pytest.approx(1.0)
    metric = scores_of(nn.Identity(), [(X, X + OFF)], None, metrics=Metric(largest, highest=False))
    assert metric["largest"] == pytest.approx(0.5, rel=1e-6)


def test_a_score_of_the_users_own_goes_first() -> None:
    def one(network: nn.Module) -> dict[str, float]:
        return {"one": 1}

    assert scores_of(nn.Identity(), None, one, "regression") == {"one": 1.0}


class Logs:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def log_dict(self, values: dict[str, float], **_: Any) -> None:
        self.values |= values


@pytest.mark.parametrize("name", ["SubspaceCallback", "AveragingCallback"])
def test_callbacks_of_lightning_name_a_task(name: str) -> None:
    lightning = pytest.importorskip("onefold.integrations.lightning")
    callback, logs = getattr(lightning, name)(task="multilabel"), Logs()
    callback._log_scores(logs, "average", nn.Identity(), [("", [(X, (X > 0).float())])])
    assert logs.values["average/mean_average_precision"] == pytest.approx(1.0)
    assert "average/accuracy" not in logs.values


def card(scores: dict[str, Scores]) -> str:
    return model_card("a", nn.Linear(1, 1), None, (), scores, ())


def test_a_card_says_task_units_and_what_is_better() -> None:
    first, second = (scored(X, X + size * OFF, "regression") for size in (1.0, 2.0))
    text = card({"result": first, "member": second})
    assert "Task: regression. Higher is better: R². Lower is better: RMSE, MAE, MSE." in text
    assert "| | RMSE | MAE | R² | MSE | examples |" in text
    assert "| result | 0.5000 | 0.5000 |" in text
    assert "| member | 1.0000 | 1.0000 |" in text
    assert "accuracy" not in text


def test_scores_of_two_tasks_have_a_table_each() -> None:
    numbers = scored(X, X + OFF, "regression")
    classes = scored(X, torch.zeros(12).long(), "classification")
    text = card({"numbers": numbers, "classes": classes})
    assert text.index("Task: regression.") < text.index("Task: classification.")
    assert "| | accuracy | NLL (nats) | ECE | Brier score | examples |" in text
