"""The automatic fold chooses by labels, and says why."""

from __future__ import annotations

import copy
import re

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
    assert (
        accuracy[choice]
        == max(accuracy.values())
        == of.evaluate(result.model, TEST).accuracy
        > accuracy["average"]
    )
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


def claims(text: str) -> tuple[str, int, float]:
    found = re.search(
        r"auto took (.+?): of (\d+) candidates it has the highest accuracy on \d+ held-out"
        r" examples, ([\d.]+) %",
        text,
    )
    assert found is not None
    return found[1], int(found[2]), float(found[3])


@pytest.mark.slow
@pytest.mark.parametrize("repair", ["auto", "full", "none"])
def test_auto_is_what_it_says_it_is(repair: str) -> None:
    networks = members(Residual, 2)
    result = merge(
        networks, loader(), align="permutation", fold="auto", repair=repair, validation=TEST
    )
    text = next(w for w in result.report.warnings if w.startswith("auto took"))
    choice, count, percent = claims(text)
    facts = result.report.folded
    assert choice == facts["choice"]
    assert count == len(facts["accuracy"])
    assert percent == pytest.approx(100 * max(facts["accuracy"].values()), abs=0.006)
    assert percent == pytest.approx(
        100 * evaluate(result.model, TEST).accuracy, abs=0.006
    )  # of what is returned, repaired or not
    assert facts["validation examples"] == 512
    best = facts["accuracy"][choice]
    level = [name for name, accuracy in facts["accuracy"].items() if accuracy == best]
    assert facts["loss"][choice] == min(facts["loss"][name] for name in level)
    for name in facts["not clearly different"]:
        assert name in text.partition("chance may have decided")[2]


def test_auto_without_labels_says_that_it_did_not_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onefold.fold.auto.scored", lambda *_: pytest.fail("nothing can be scored"))
    result = merge(
        members(Plain, 2), [x for x, _ in loader()], align="permutation", fold=Auto(rows=500)
    )
    assert "auto took least squares, as there are no labels to choose by" in result.report.warnings
