"""Calibration by hand on a handful of examples, and the number of bins."""

from __future__ import annotations

import inspect

import pytest
import torch
from score_samples import sample

from onefold.measure.scores import reliability, score_logits, score_probabilities
from onefold.tasks.calibration import bin_confidences


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


@pytest.mark.parametrize("binning", ["equal-width", "adaptive"])
def test_calibration_error_does_not_depend_on_the_order_of_the_examples(binning: str) -> None:
    generator = torch.Generator().manual_seed(3)
    confidence = (torch.rand(400, generator=generator) * 20).round() / 20  # many ties
    correct = torch.rand(400, generator=generator) < confidence
    order = torch.randperm(400, generator=generator)
    first, second = (
        bin_confidences(confidence, correct, 15, binning),
        bin_confidences(confidence[order], correct[order], 15, binning),
    )
    assert first.count == second.count
    assert first.ece == pytest.approx(second.ece, abs=1e-12)


def test_adaptive_bins_hold_equal_numbers_and_equal_width_bins_do_not() -> None:
    logits, labels = sample(1000, scale=5.0)
    adaptive, wide = (
        reliability(logits, labels, bins=10, binning="adaptive"),
        reliability(logits, labels, bins=10),
    )
    assert adaptive.count == (100,) * 10
    assert max(wide.count) > 300
    assert sum(wide.count) == 1000


def test_adaptive_ece_equals_the_mean_gap_of_ten_sorted_chunks() -> None:
    logits, labels = sample(1000)
    confidence, prediction = logits.softmax(-1).max(-1)
    order = confidence.argsort()
    gaps = [
        abs(float(confidence[part].mean() - (prediction == labels)[part].double().mean()))
        for part in order.split(100)
    ]
    assert score_logits(logits, labels, bins=10, binning="adaptive").ece == pytest.approx(
        sum(gaps) / 10, rel=1e-9
    )


def test_more_adaptive_bins_than_examples_is_fine() -> None:
    logits, labels = sample(4)
    assert sum(reliability(logits, labels, bins=15, binning="adaptive").count) == 4


def test_an_edge_belongs_to_the_bin_below() -> None:
    curve = bin_confidences(
        torch.tensor([0.5, 0.5 + 1e-9, 1.0], dtype=torch.float64),
        torch.tensor([True, False, True]),
        2,
    )
    assert curve.count == (1, 2)
