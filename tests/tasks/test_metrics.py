"""Metrics of torchmetrics and functions: values, directions, refusals, and what they choose."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from known_outputs import MADE, noise, scores_of, whole
from torch import Tensor, nn

import onefold
from onefold.errors import DataError, SettingError
from onefold.tasks import Metric


@pytest.mark.parametrize(
    ("task", "text", "own"),
    [
        ("classification", "MulticlassF1Score(num_classes=3, average='micro')", "accuracy"),
        ("binary", "classification.BinaryAUROC()", "auroc"),
        ("multilabel", "MultilabelAveragePrecision(num_labels=3)", "mean_average_precision"),
        ("multilabel", "MultilabelF1Score(num_labels=3, average='micro')", "f1"),
        ("regression", "MeanSquaredError()", "mse"),
        ("language_modeling", "Perplexity(ignore_index=-100)", "perplexity"),
        ("segmentation", "MulticlassJaccardIndex(num_classes=3)", "mean_iou"),
    ],
)
@pytest.mark.parametrize("size", [0, 9])
def test_metrics_of_torchmetrics_agree_with_the_task(
    task: str, text: str, own: str, size: int
) -> None:
    pytest.importorskip("torchmetrics")
    outputs, labels = MADE[task]
    found = scores_of(outputs, labels, task, size, metrics=text)
    name = found.kinds[-1].name
    assert found[name] == pytest.approx(found[own], rel=1e-4)
    if task in ("binary", "multilabel"):  # labels as a loss takes them
        assert scores_of(outputs, labels.float(), task, metrics=text)[name] == found[name]


def test_mean_iou_of_torchmetrics_takes_the_outputs() -> None:
    pytest.importorskip("torchmetrics")
    text = "MeanIoU(num_classes=3, include_background=True, input_format='mixed')"
    found = scores_of(*MADE["segmentation"], "segmentation", metrics=text)
    assert 0 < found["MeanIoU"] < 1


def gap(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs - labels).abs().mean(1)


def test_functions_of_examples_and_of_batches() -> None:
    outputs, labels = MADE["regression"]
    each = scores_of(outputs, labels, "regression", 7, metrics=Metric(gap, highest=False), by="gap")
    assert each["gap"] == pytest.approx(each["mae"])
    assert each.error == pytest.approx(
        scores_of(outputs, labels, "regression", by="mae").error, rel=1e-4
    )
    whole_batch = Metric(lambda x, y: gap(x, y).mean(), "mean gap", highest=False)
    found = scores_of(outputs, labels, "regression", 7, metrics=whole_batch, by="mean gap")
    assert found["mean gap"] == pytest.approx(each["gap"])
    assert found.error != found.error  # not known
    loss = scores_of(outputs, labels, "regression", metrics=nn.L1Loss())  # a module is a function
    assert loss["L1Loss"] == pytest.approx(each["gap"], rel=1e-5)


def test_a_function_cannot_change_what_is_scored() -> None:
    def spoil(outputs: Tensor, labels: Tensor) -> float:
        outputs.zero_()
        labels.zero_()
        return 0.0

    outputs, labels = (part.clone() for part in MADE["regression"])
    before = scores_of(outputs, labels, "regression")
    found = scores_of(outputs, labels, "regression", metrics=[spoil, Metric(gap, "gap")])
    assert found["rmse"] == before["rmse"]
    assert found["gap"] == pytest.approx(before["mae"])
    assert torch.equal(labels, MADE["regression"][1])


def fails(outputs: Tensor, labels: Tensor) -> Tensor:
    raise ValueError("no such thing")


REFUSED = [
    ("MulticlasF1Score(num_classes=3)", SettingError, "MulticlassF1Score"),
    ("MulticlassF1Score(3)", SettingError, "given by name"),
    ("MulticlassF1Score(", SettingError, "not written as"),
    ("MulticlassF1Score(num=3)", SettingError, "cannot be made"),
    ("MulticlassF1Score(num_classes=3, average=None)", DataError, "no single number"),
    ("MulticlassF1Score(num_classes=2)", DataError, "MulticlassF1Score"),
    (fails, DataError, "ValueError: no such thing"),
    (lambda x, y: x, DataError, "returned shape"),
    (3, SettingError, "A metric is 3"),
    ([gap, gap], SettingError, "Two metrics are called 'gap'"),
    (Metric(gap, "nll"), SettingError, "a score of classification already"),
    (Metric(gap, "bins"), SettingError, "a fact of all scores"),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_is_no_metric_is_one_sentence(number: int) -> None:
    pytest.importorskip("torchmetrics")
    metric, kind, said = REFUSED[number]
    with pytest.raises(kind) as caught:
        scores_of(*MADE["classification"], "classification", metrics=metric)
    assert said in str(caught.value)
    assert str(caught.value).endswith((".", "?"))


def test_a_metric_that_is_to_choose_needs_a_direction() -> None:
    with pytest.raises(SettingError, match="whether more of it is better"):
        scores_of(*MADE["regression"], "regression", metrics=gap, by="gap")
    with pytest.raises(SettingError, match="rmse"):
        scores_of(*MADE["regression"], "regression", by="rmes")


def test_torchmetrics_is_read_only_where_it_is_asked_for() -> None:
    code = "import sys, onefold.tasks, onefold.measure; print('torchmetrics' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def mistakes(outputs: Tensor, labels: Tensor) -> Tensor:
    """1 for each right answer: less of it is said to be better."""
    return (outputs.argmax(1) == labels).double()


@pytest.mark.parametrize("fold", ["greedy_soup", "auto"])
def test_by_another_score_the_other_member_is_chosen(fold: str) -> None:
    torch.manual_seed(0)
    inputs, labels = noise(300, 6).float(), whole(3, 300)
    inputs[:, :3] = 3 * nn.functional.one_hot(labels, 3)
    members = []
    for sign in (1.0, -1.0):
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            model[0].weight[:3, :3] = torch.eye(3)
            model[2].weight[:, :3] = sign * torch.eye(3)
        members.append(model)
    data = list(zip(inputs.split(50), labels.split(50), strict=True))
    metric = Metric(mistakes, highest=False)
    usual = onefold.merge(members, data, align="none", fold=fold, validation=data)
    other = onefold.merge(
        members, data, align="none", fold=fold, validation=data, metrics=metric, by="mistakes"
    )
    assert onefold.evaluate(usual.model, data).accuracy > 0.9
    assert onefold.evaluate(other.model, data).accuracy < 0.1
