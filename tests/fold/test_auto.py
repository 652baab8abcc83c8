"""The automatic fold chooses by labels, and says why."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import Plain, Residual, loader, members, trained
from spoilt_networks import equal, spoilt

import onefold as of
from onefold.fold import merge
from onefold.fold.auto import WAYS, Auto, led_by
from onefold.fold.least_squares import LeastSquares
from onefold.measure import evaluate

TEST = loader(512, seed=99, batch=128)
UNLABELLED = [x for x, _ in loader()]


@pytest.mark.slow
def test_auto_chooses_by_labels_and_says_why() -> None:
    good = trained(Plain, 1)
    result = merge(
        [spoilt(good), good], loader(), align="permutation", fold="auto", validation=TEST
    )
    accuracy, choice = result.report.folded["accuracy"], result.report.folded["choice"]
    assert set(accuracy) == {"member 1", "average", *(f"least_squares, {way}" for way in WAYS)}
    assert accuracy[choice] == of.evaluate(result.model, TEST).accuracy > accuracy["average"]
    assert choice == "member 1" or result.report.folded["gains"][choice]["gain"] > 0
    assert any(f"auto took {choice}" in w for w in result.report.warnings)
    assert any("taken to be even" in w for w in result.report.warnings) == (
        choice == "least_squares, pruning, classes"
    )


def test_auto_says_what_it_took_for_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onefold.fold.auto.WAYS", {"classes": ("pruning", "classes", False)})
    good = trained(Plain, 1)
    lean = [copy.deepcopy(good), copy.deepcopy(good)]
    for model in lean:
        with torch.no_grad():
            model.head.weight.mul_(0.1)
            model.head.bias.mul_(0.1).add_(torch.tensor([4.0, 4.0, 0.0, 0.0]))
    result = merge(lean, loader(), align="permutation", fold="auto", validation=TEST)
    assert result.report.folded["choice"] == "least_squares, classes"
    assert any("taken to be even" in w for w in result.report.warnings)


def test_the_best_member_leads_by_its_share_or_more() -> None:
    assert led_by(1, (0.5, 0.25, 0.25)) == pytest.approx((0.2, 0.7, 0.1))
    assert led_by(0, (0.8, 0.2)) == pytest.approx((0.8, 0.2))
    assert led_by(0, (1.0, 0.0)) == (1.0, 0.0)


@pytest.mark.slow
def test_auto_lets_the_best_member_lead_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    good, seen = trained(Plain, 1), []
    fold = LeastSquares.fold
    monkeypatch.setattr(
        LeastSquares, "fold", lambda self, job: (seen.append(job.shares), fold(self, job))[1]
    )
    merge([spoilt(good), good], loader(), align="permutation", fold="auto", validation=TEST)
    assert seen[:-1] == [(0.5, 0.5)] * (len(WAYS) - 1)
    assert seen[-1] == pytest.approx((0.3, 0.7))


@pytest.mark.slow
def test_auto_without_labels_takes_least_squares() -> None:
    networks = members(Plain, 2)
    result = merge(networks, UNLABELLED, align="permutation", fold="auto")
    assert equal(
        result.model, merge(networks, UNLABELLED, align="permutation", fold="least_squares").model
    )
    assert any("no labels" in w for w in result.report.warnings)


@pytest.mark.slow
@pytest.mark.parametrize("repair", ["auto", "full", "none"])
def test_auto_is_what_it_says_it_is(repair: str) -> None:
    networks = members(Residual, 2)
    result = merge(
        networks, loader(), align="permutation", fold="auto", repair=repair, validation=TEST
    )
    text = next(w for w in result.report.warnings if w.startswith("auto took"))
    facts = result.report.folded
    assert text.startswith(f"auto took {facts['choice']}: on 512 held-out examples")
    assert len(facts["gains"]) == len(facts["accuracy"]) - 1 == len(WAYS) + 1
    assert facts["accuracy"][facts["choice"]] == pytest.approx(
        evaluate(result.model, TEST).accuracy
    )  # of what is returned, repaired or not
    for name, gain in facts["gains"].items():
        assert gain["gain"] == pytest.approx(
            facts["accuracy"][name] - facts["accuracy"][facts["baseline"]]
        )


@pytest.mark.slow
def test_auto_over_members_of_the_same_data_returns_the_best_unchanged() -> None:
    good = trained(Plain, 1)
    result = merge([spoilt(good), good], loader(), fold="auto", align="none", validation=TEST)
    if result.report.folded["choice"] == "member 1":
        assert equal(result.model, good)
        assert any("auto took member 1: on 512 held-out" in w for w in result.report.warnings)


def test_auto_without_labels_says_that_it_did_not_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onefold.fold.auto.scored", lambda *_: pytest.fail("nothing can be scored"))
    result = merge(
        members(Plain, 2), [x for x, _ in loader()], align="permutation", fold=Auto(rows=500)
    )
    assert "auto took least squares, as there are no labels to choose by" in result.report.warnings
