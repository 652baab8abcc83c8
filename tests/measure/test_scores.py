"""Scores against torchmetrics, scikit-learn and closed forms; broken outputs; unfit data."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from score_samples import sample
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, log_loss
from torch import Tensor

from onefold.errors import DataError, SettingError
from onefold.measure import Scores
from onefold.measure.scores import check_labels, reliability, score_logits, score_probabilities


def test_scores_by_hand() -> None:
    p = torch.tensor([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]])
    found = score_probabilities(p, torch.tensor([0, 0, 1]))
    assert found.accuracy == pytest.approx(1 / 3)
    assert found.nll == pytest.approx(
        float(-(torch.tensor([0.7, 0.4, 0.1]).log()).mean()), rel=1e-6
    )
    assert found.brier == pytest.approx((0.18 + 0.72 + 1.62) / 3, rel=1e-6)
    assert score_logits(p.log(), torch.tensor([0, 0, 1])).brier == pytest.approx(found.brier)
    series = score_logits(
        p.log().reshape(1, 3, 2), torch.tensor([[0, 0, 1]])
    )  # logits at every step
    assert (series.nll, series.n) == (pytest.approx(found.nll), 3)
    for logits, labels in ((p.log()[0], 0), (p.log()[:, :1], [0, 0, 0])):
        with pytest.raises(DataError, match="two classes or more"):
            score_logits(logits, torch.tensor(labels))
    for wrong in ([[0.7, 0.4]], [[1.2, -0.2]], [[0.5, 0.48]]):
        with pytest.raises(DataError, match="negative somewhere or does not sum to 1"):
            score_probabilities(torch.tensor(wrong), torch.tensor([0]))
    assert score_probabilities(torch.tensor([[0.5, 0.495]]), torch.tensor([0])).n == 1


EXAMPLES = {
    "n": st.integers(1, 300),
    "classes": st.integers(2, 12),
    "seed": st.integers(0, 10_000),
    "bins": st.sampled_from([1, 2, 10, 15, 20]),
}


@given(**EXAMPLES)
@settings(max_examples=40, deadline=None)
def test_scores_equal_those_of_scikit_learn(n: int, classes: int, seed: int, bins: int) -> None:
    logits, labels = sample(n, classes, seed)
    p = logits.softmax(-1).numpy()
    scores = score_logits(logits, labels, bins=bins)
    assert scores.n == n
    assert scores.accuracy == pytest.approx(accuracy_score(labels, p.argmax(1)))
    assert scores.nll == pytest.approx(log_loss(labels, p, labels=list(range(classes))), rel=1e-9)
    one_hot = np.eye(classes)[labels.numpy()]
    assert scores.brier == pytest.approx(
        float(np.mean(np.sum((p - one_hot) ** 2, axis=1))), rel=1e-9
    )
    curve = reliability(logits, labels, bins=bins)
    accuracy, confidence = calibration_curve(
        p.argmax(1) == labels.numpy(), p.max(1), pos_label=True, n_bins=bins, strategy="uniform"
    )
    assert curve.accuracy == pytest.approx(accuracy)
    assert curve.confidence == pytest.approx(confidence)


@pytest.mark.slow
def test_scores_equal_those_of_torchmetrics() -> None:
    try:
        from torchmetrics.functional.classification import (
            multiclass_accuracy,
            multiclass_calibration_error,
        )
    except RuntimeError as error:  # raised by a torchvision that was built for another torch
        pytest.skip(f"torchmetrics cannot be imported: {error}")
    for bins in (2, 10, 15, 20):
        logits, labels = sample(400, seed=bins)
        scores = score_logits(logits, labels, bins=bins)
        assert scores.accuracy == pytest.approx(
            float(multiclass_accuracy(logits, labels, 7, average="micro")), abs=1e-6
        )
        assert scores.ece == pytest.approx(
            float(
                multiclass_calibration_error(logits.softmax(-1), labels, 7, n_bins=bins, norm="l1")
            ),
            abs=1e-6,
        )


def test_probabilities_score_like_their_logits() -> None:
    logits, labels = sample()
    expected, found = score_logits(logits, labels), score_probabilities(logits.softmax(-1), labels)
    assert found.values == pytest.approx(expected.values)
    assert {**found.to_dict(), **expected.values} == expected.to_dict()


def test_a_sure_and_right_network_has_perfect_scores_and_a_sure_and_wrong_one_the_worst() -> None:
    labels = torch.tensor([0, 1, 2])
    logits = torch.full((3, 3), -1000.0).scatter(1, labels[:, None], 1000.0)
    right, wrong = score_logits(logits, labels), score_logits(logits, (labels + 1) % 3)
    assert (right.accuracy, right.nll, right.ece, right.brier) == (1, 0, 0, 0)
    assert (wrong.accuracy, wrong.nll, wrong.ece, wrong.brier) == (0, 2000, 1, 2)


def test_a_uniform_prediction_has_the_closed_form() -> None:
    scores = score_logits(torch.zeros(8, 4), torch.arange(8) % 4)
    assert scores.nll == pytest.approx(math.log(4))
    assert scores.brier == pytest.approx(0.75)
    assert scores.accuracy == 0.25
    assert scores.ece == pytest.approx(0)


def test_broken_rows_count_as_wrong_and_are_reported() -> None:
    logits, labels = sample(10)
    labels = logits.argmax(-1)
    labels[:3] = torch.tensor([0, 2, 0])
    logits[0, 0], logits[1, 2], logits[2] = (
        torch.nan,
        torch.inf,
        -torch.inf,
    )  # where argmax would still hit the label
    scores = score_logits(logits, labels)
    assert scores.nonfinite == 3
    assert scores.accuracy == pytest.approx(0.7)
    assert scores.nll == math.inf
    assert math.isfinite(scores.brier)
    assert math.isfinite(scores.ece)
    assert "3 examples with non-finite outputs" in str(scores)


def test_a_class_masked_by_minus_infinity_is_no_fault() -> None:
    logits = torch.tensor([[1.0, 0.0, -torch.inf]])
    scores = score_logits(logits, torch.tensor([0]))
    assert scores.nonfinite == 0
    assert scores.nll == pytest.approx(math.log(1 + math.exp(-1)))
    assert score_logits(logits, torch.tensor([2])).nll == math.inf


def test_scores_become_json_and_come_back() -> None:
    logits, labels = sample(10)
    logits[0, 0] = torch.nan
    scores = score_logits(logits, labels)
    text = json.dumps(scores.to_dict(), allow_nan=False)
    assert Scores.from_dict(json.loads(text)) == scores
    with pytest.raises(DataError, match="no scores"):
        Scores.from_dict({"accuracy": 1.0})


def test_half_precision_logits_are_scored_in_float64() -> None:
    logits, labels = sample()
    half = logits.bfloat16()
    assert score_logits(half, labels) == score_logits(half.double(), labels)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (
            torch.zeros(3, 4),
            torch.tensor([0, 1, 4]),
            "range from 0 to 4, but the network has 4 classes, numbered 0 to 3",
        ),
        (
            torch.zeros(3, 4),
            torch.tensor([-100, 255, -1]),
            "no example to score, as all 3 labels are negative, 255 or missing",
        ),
        (torch.zeros(3, 4), torch.zeros(3), "convert them with .long"),
        (torch.zeros(3, 4), torch.zeros(2, dtype=torch.long), r"labels have shape \(2,\)"),
        (torch.zeros(3, 1), torch.zeros(3, dtype=torch.long), "two classes or more"),
        (torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), "no example"),
    ],
)
def test_unfit_data_is_refused(logits: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        score_logits(logits, labels)


def test_unknown_options_are_refused() -> None:
    logits, labels = sample(3)
    with pytest.raises(SettingError, match="did you mean 'adaptive'"):
        score_logits(logits, labels, binning="adaptiv")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="0 bins"):
        score_logits(logits, labels, bins=0)
    with pytest.raises(DataError, match="does not sum to 1"):
        score_probabilities(logits, labels)


def test_curves_and_scores_have_the_same_bins_unless_others_are_given() -> None:
    logits, labels = sample(400)
    scores = score_logits(logits, labels)
    assert reliability(logits, labels).ece == scores.ece
    assert reliability(logits, labels, bins=15).ece == scores.ece
    assert scores.bins == 15
    assert reliability(logits, labels, bins=7).ece != scores.ece


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([-1, 2], "range from -1 to 2"),
        ([0, 3], "range from 0 to 3"),
        ([-5, -5], "range from -5 to -5"),
        ([1, 2, 3], "count from 1"),
    ],
)
def test_labels_outside_the_classes_are_refused_on_either_side(
    labels: list[int], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        check_labels(torch.tensor(labels), 3)
    assert check_labels(torch.tensor([[0, 2], [1, 1]]), 3).tolist() == [0, 2, 1, 1]
    assert check_labels(torch.tensor([], dtype=torch.int64), 3).tolist() == []
