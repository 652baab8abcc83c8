"""Standard errors: what examples contribute, against leaving each out and against other draws."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_outputs import noise, scores_of, whole
from torch import Tensor

from onefold.errors import SettingError
from onefold.measure import difference
from onefold.tasks.answers import contributions, mean_error
from onefold.tasks.ranking import auroc, average_precision

N = 160


def sample(task: str, seed: int = 0, n: int = N) -> tuple[Tensor, Tensor]:
    """Outputs that know something of the labels."""
    if task == "regression":
        labels = noise(n, 2, seed=seed) * torch.tensor([1.0, 2.0])
        return labels + 0.5 * noise(n, 2, seed=seed + 1), labels
    if task == "binary":
        labels = whole(2, n, seed=seed)
        return (labels - 0.5).unsqueeze(1) + noise(n, 1, seed=seed + 1), labels
    if task == "multilabel":
        labels = whole(2, n, 3, seed=seed)
        return labels - 0.5 + noise(n, 3, seed=seed + 1), labels
    shape = {"classification": (n,), "segmentation": (n, 4, 4)}.get(task, (n, 6))
    labels = whole(4, *shape, seed=seed)
    logits = torch.nn.functional.one_hot(labels, 4) + noise(*shape, 4, seed=seed + 1)
    hard = noise(n, *[1] * len(shape), seed=seed + 2) > 0  # examples that differ as a whole
    logits = torch.where(hard, logits, 0.3 * logits)
    if task == "language_modeling":
        logits = logits.roll(-1, 1)
    return (logits.movedim(-1, 1) if task == "segmentation" else logits), labels


CASES = [
    ("classification", "accuracy", 0.02),
    ("classification", "nll", 0.02),
    ("regression", "rmse", 0.05),
    ("regression", "mae", 0.02),
    ("regression", "mse", 0.02),
    ("regression", "r2", 0.06),
    ("binary", "accuracy", 0.02),
    ("binary", "auroc", 0.05),
    ("binary", "brier", 0.02),
    ("multilabel", "f1", 0.05),
    ("multilabel", "nll", 0.02),
    ("multilabel", "mean_average_precision", 0.1),
    ("segmentation", "mean_iou", 0.05),
    ("segmentation", "accuracy", 0.02),
    ("token_classification", "accuracy", 0.02),
    ("language_modeling", "perplexity", 0.05),
    ("language_modeling", "nll", 0.02),
]


@pytest.mark.parametrize(("task", "by", "near"), CASES)
def test_the_error_is_that_of_leaving_each_example_out(task: str, by: str, near: float) -> None:
    outputs, labels = sample(task)
    found = scores_of(outputs, labels, task, by=by)
    left = []
    for k in range(N):
        kept = torch.arange(N) != k
        left.append(scores_of(outputs[kept], labels[kept], task, by=by).primary)
    values = torch.tensor(left, dtype=torch.float64)
    jackknife = float(((N - 1) * values.var(correction=0)).sqrt())
    assert found.error == pytest.approx(jackknife, rel=near)
    assert found.answers is not None
    assert float(found.answers.hits.double().mean()) == pytest.approx(found.primary, rel=1e-5)


@pytest.mark.parametrize(("task", "by", "near"), CASES)
def test_the_error_of_a_difference_is_that_of_leaving_each_example_out(
    task: str, by: str, near: float
) -> None:
    outputs, labels = sample(task)
    other = outputs + 0.7 * noise(*outputs.shape, seed=9)

    def gap(kept: Tensor) -> float:
        two = (scores_of(own[kept], labels[kept], task, by=by) for own in (outputs, other))
        first, second = two
        return first.kind.better(first.primary) - second.kind.better(second.primary)

    found = difference(*(scores_of(own, labels, task, by=by) for own in (outputs, other)))
    values = torch.tensor([gap(torch.arange(N) != k) for k in range(N)], dtype=torch.float64)
    jackknife = float(((N - 1) * values.var(correction=0)).sqrt())
    assert found.paired
    assert found.error == pytest.approx(jackknife, rel=2 * near)
    assert found.gain == pytest.approx(gap(torch.ones(N, dtype=torch.bool)))


@pytest.mark.parametrize(
    ("task", "by"),
    [("regression", "rmse"), ("regression", "r2"), ("binary", "auroc"), ("multilabel", "f1")],
)
def test_two_errors_cover_the_true_difference(task: str, by: str) -> None:
    def drawn(seed: int, n: int) -> tuple[float, float]:
        outputs, labels = sample(task, seed, n)
        other = outputs + 0.5 * noise(*outputs.shape, seed=seed + 5)
        found = difference(*(scores_of(own, labels, task, by=by) for own in (outputs, other)))
        return found.gain, found.error

    truth = drawn(1, 40_000)[0]
    pairs = [drawn(1000 + 10 * k, 120) for k in range(150)]
    covered = sum(abs(gain - truth) <= 1.96 * error for gain, error in pairs) / len(pairs)
    assert 0.88 <= covered <= 0.995


SCORES = st.lists(st.integers(-3, 3), min_size=4, max_size=40)


@given(SCORES, st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_contributions_to_a_ranking_have_its_score_as_mean(values: list[int], seed: int) -> None:
    scores = torch.tensor(values, dtype=torch.float64)
    positive = torch.rand(len(scores), generator=torch.Generator().manual_seed(seed)) < 0.5
    for ranking in (auroc, average_precision):
        area, own = ranking(scores, positive)
        if math.isnan(area):
            assert bool(own.isnan().all())
            continue
        assert 0 <= area <= 1
        assert float(own.mean()) == pytest.approx(area)
        order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed))
        again, moved = ranking(scores[order], positive[order])
        assert again == pytest.approx(area)
        assert torch.allclose(moved, own[order])
        assert ranking(2 * scores + 1, positive)[0] == pytest.approx(area)


@given(st.integers(2, 50), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_contributions_have_the_score_as_mean(n: int, seed: int) -> None:
    numbers = noise(n, 2, seed=seed).abs() + 0.1
    value, own = contributions(numbers, lambda mean: (mean[0] / mean[1]).sqrt())
    assert float(own.mean()) == pytest.approx(value)


def test_a_perfect_network_has_no_error() -> None:
    labels = noise(20, 2)
    for by in ("rmse", "mse", "r2"):
        found = scores_of(labels, labels, "regression", by=by)
        assert found.error == 0.0
    other = scores_of(labels + noise(20, 2, seed=3), labels, "regression")
    gap = difference(scores_of(labels, labels, "regression"), other)
    assert gap.paired
    assert gap.gain > 0
    assert math.isfinite(gap.error)


def test_an_infinite_score_has_no_known_error() -> None:
    outputs, labels = sample("regression")
    broken = outputs.clone()
    broken[3] = math.inf
    fine, bad = (scores_of(own, labels, "regression") for own in (outputs, broken))
    assert math.isnan(bad.error)
    gap = difference(fine, bad)
    assert gap.gain == math.inf
    assert not gap.paired
    assert gap.clear
    assert difference(bad, bad).gain == 0.0


def test_scores_that_other_names_decide_are_not_compared() -> None:
    outputs, labels = sample("regression")
    first, second = (scores_of(outputs, labels, "regression", by=by) for by in ("rmse", "r2"))
    with pytest.raises(SettingError, match="score both alike"):
        difference(first, second)


def test_one_example_has_no_spread() -> None:
    assert mean_error(torch.tensor([3.0])) == 0.0
    assert math.isnan(mean_error(torch.tensor([3.0, math.inf])))
