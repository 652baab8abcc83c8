"""Calibration by hand on a handful of examples, and the settings that scores have unless others are
given.
"""

from __future__ import annotations

import inspect

import pytest
import torch

from onefold.errors import DataError
from onefold.measure.calibration import bin_confidences
from onefold.measure.scores import reliability, score_logits, score_probabilities


def test_there_are_fifteen_bins_unless_others_are_asked_for() -> None:
    for function in (bin_confidences, score_logits, score_probabilities, reliability):
        given = inspect.signature(function).parameters
        assert (given["bins"].default, given["binning"].default) == (15, "equal-width")


def test_bins_of_equal_width_by_hand() -> None:
    confidence, correct = (
        torch.tensor([0.5, 0.55, 0.74, 0.76, 0.99]),
        torch.tensor([True, False, True, True, False]),
    )
    found = bin_confidences(confidence, correct, 4)
    assert found.count == (1, 2, 2)
    assert found.accuracy == (1.0, 0.5, 0.5)
    assert found.confidence == pytest.approx((0.5, 0.645, 0.875))
    assert found.ece == pytest.approx((0.5 * 1 + 0.145 * 2 + 0.375 * 2) / 5)
    assert bin_confidences(confidence, correct, 1).count == (5,)


def test_bins_of_equal_counts_by_hand() -> None:
    confidence, correct = (
        torch.tensor([0.9, 0.3, 0.6, 0.5, 0.8, 0.7]),
        torch.tensor([True, True, False, True, False, True]),
    )
    found = bin_confidences(confidence, correct, 3, "adaptive")
    assert found.count == (2, 2, 2)
    assert found.confidence == pytest.approx((0.4, 0.65, 0.85))
    assert found.accuracy == (1.0, 0.5, 0.5)
    assert bin_confidences(confidence, correct, 4, "adaptive").count == (1, 2, 1, 2)
    assert bin_confidences(
        torch.tensor([0.4, 0.6]), torch.tensor([True, False]), 5, "adaptive"
    ).count == (1, 1)


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
