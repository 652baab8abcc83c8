"""What networks of other tasks than classification know, and what cannot be told of it."""

from __future__ import annotations

import math

import pytest
import torch
from task_cases import CASES, task_members
from torch import Tensor, nn

import onefold
from onefold.comparison import Relation, gather
from onefold.comparison.knowledge import Knowledge, knowledge_of, off_ensemble
from onefold.comparison.predictions import VALUES, Predictions, read_predictions
from onefold.errors import DataError, SettingError
from onefold.inference import ANY
from onefold.result_reports.comparisons import comparison_rows, report_comparison
from onefold.tasks import Binary, Multilabel, Segmentation, tasks


def known(rows: list[Tensor], task: str) -> Knowledge:
    asked = tasks.get(task)()
    return knowledge_of(Predictions(tuple(rows), asked.classes, len(rows[0]), asked), len(rows))


def test_yes_and_no_have_agreement_and_shares_by_hand() -> None:
    first, second = torch.tensor([[1.0], [2.0], [-1.0]]), torch.tensor([[1.0], [-2.0], [-1.0]])
    seen = known([first, second], "binary")
    assert seen.shares is None
    assert seen.apart is None
    assert seen.agreement is not None
    assert seen.agreement[0, 1] == pytest.approx(2 / 3)
    up, down = 1 / (1 + math.exp(-2.0)), 1 / (1 + math.exp(2.0))
    assert seen.apart_in_yes == pytest.approx((up - down) / 3, rel=1e-5)
    mean = (up + down) / 2  # of the probabilities of the second example
    by_hand = mean * math.log(mean / up) + (1 - mean) * math.log((1 - mean) / down)
    assert float(seen.off[0]) == pytest.approx(by_hand / 3, rel=1e-4)
    assert seen.unit == "nats"


def test_several_labels_have_shares_of_yes_alone() -> None:
    rows = [torch.tensor([[9.0, -9.0]]), torch.tensor([[9.0, 9.0]])]
    seen = known(rows, "multilabel")
    assert seen.agreement is None
    assert seen.yes is not None
    assert seen.yes.shape == (2, 2)
    assert seen.apart_in_yes == pytest.approx(1.0, abs=1e-3)


def test_numbers_are_held_against_the_variance_of_their_mean() -> None:
    base = torch.linspace(-1, 1, 20).reshape(-1, 1)
    seen = known([base + 1, base - 1], "regression")
    spread = float((base - base.mean()).square().mean())
    assert seen.off.tolist() == pytest.approx([1 / spread, 1 / spread], rel=1e-5)
    assert seen.unit == "of the mean's variance"
    assert (seen.agreement, seen.yes, seen.shares) == (None, None, None)
    found = Predictions((base + 1, base - 1, base), False, 20, tasks.get("regression")())
    assert off_ensemble(found, 2, 2) == pytest.approx(0.0, abs=1e-12)


def test_two_regressors_say_that_nothing_is_told() -> None:
    data = CASES["regression"].data()
    found = onefold.compare_networks(task_members("regression"), data)
    assert found.evidence is not None
    assert found.evidence.relation is Relation.UNTOLD
    assert found.unit == "of the mean's variance"
    assert "no scores of classes" in found.sentences[0]
    assert "of the mean's variance from the ensemble" in str(found)
    table = comparison_rows(found)
    assert table.headings == ("network", "from the ensemble (of the mean's variance)")
    assert table.best(1)
    text = report_comparison(found, {}).to_html()
    assert "the same class" not in text
    # Two outputs without labels look like two classes, unless the task is named.
    bare = [inputs for inputs, _ in data]
    guessed = onefold.compare_networks(task_members("regression"), bare)
    named = onefold.compare_networks(task_members("regression"), bare, task="regression")
    assert guessed.answered
    assert not named.answered
    assert [row[3] for row in named.rows()] == pytest.approx([row[3] for row in found.rows()])


def test_two_segmenters_are_compared_by_positions() -> None:
    data = CASES["segmentation"].data()
    members = task_members("segmentation")
    found = onefold.compare_networks(members, data)
    assert found.evidence is not None
    seen = found.evidence.knowledge
    assert seen.task.name == "segmentation"
    assert seen.dense
    assert seen.examples == 256
    with torch.no_grad():
        outputs = [torch.cat([member(inputs) for inputs, _ in data]) for member in members]
    shares = [own.softmax(1).mean((0, 2, 3)).double() for own in outputs]
    assert seen.shares is not None
    torch.testing.assert_close(seen.shares, torch.stack(shares), atol=1e-5, rtol=0)
    assert seen.agreement is not None
    agree = float((outputs[0].argmax(1) == outputs[1].argmax(1)).double().mean())
    assert float(seen.agreement[0, 1]) == pytest.approx(agree, abs=1e-4)
    assert found.evidence.relation is Relation.SAME
    bare = [inputs for inputs, _ in data]
    named = onefold.compare_networks(members, bare, task="segmentation")
    assert named.evidence is not None
    assert named.evidence.knowledge.apart == pytest.approx(seen.apart)


class Shifted(nn.Module):
    """A segmenter with more for one class."""

    def __init__(self, inner: nn.Module, number: int) -> None:
        super().__init__()
        self.inner, self.shift = inner, nn.Parameter(torch.zeros(3, 1, 1))
        self.shift.data[number] = 3.0

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x) + self.shift
        return out


def test_segmenters_that_answer_other_classes_know_different_ones() -> None:
    members = [Shifted(own, k) for k, own in enumerate(task_members("segmentation"))]
    found = onefold.compare_networks(members, CASES["segmentation"].data(), task=Segmentation)
    assert found.evidence is not None
    assert found.evidence.relation is Relation.DIFFERENT
    assert found.evidence.pool is not None


@pytest.mark.parametrize("task", ["binary", "multilabel", "token_classification"])
def test_other_tasks_are_told_by_their_labels(task: str) -> None:
    data, members = CASES[task].data(), task_members(task)
    if task == "multilabel":
        data = [(inputs, labels.float()) for inputs, labels in data]
    found = onefold.compare_networks(members, data)
    assert found.evidence is not None
    assert found.evidence.knowledge.task.name == task
    assert found.answered == (task != "multilabel")
    if task == "token_classification":
        assert found.evidence.relation is Relation.SAME
    else:
        assert found.evidence.relation is Relation.UNTOLD
        assert "which does not tell whether they know the same" in found.sentences[0]
        assert "their shares of yes differ by up to" in found.sentences[0]
    assert found.unit == "nats"
    assert found.to_dict()["evidence"]["knowledge"]["task"] == task


def test_language_models_are_compared_by_tokens() -> None:
    data, members = CASES["language_modeling"].data(), task_members("language_modeling")
    found = gather(members, data, ANY, task=tasks.get("language_modeling")())
    assert found.relation is Relation.SAME
    assert found.knowledge.shares is not None
    assert found.knowledge.shares.shape == (2, 12)


def test_many_rows_are_thinned_and_stay_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    assert VALUES > 10**7
    monkeypatch.setattr("onefold.comparison.predictions.VALUES", 2 * 3 * 100)
    found = read_predictions(
        [nn.Identity()] * 2, [torch.randn(4, 3, 32, 32)], ANY, (), Segmentation()
    )
    assert 80 < len(found.rows[0]) <= 100
    assert torch.equal(*found.rows)


def test_a_task_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="several numbers for each example"):
        onefold.compare_networks(task_members("regression"), [torch.randn(9, 6)], task=Binary)
    with pytest.raises(DataError, match="a logit for each"):
        onefold.compare_networks(
            task_members("segmentation"), CASES["segmentation"].data(), task=Multilabel()
        )
    with pytest.raises(SettingError, match="There is no task named 'regresion'"):
        onefold.compare_networks(task_members("regression"), [], task="regresion")
