"""Soups: who does not help is left out, and reasons say so."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import Plain, Residual, loader, trained
from spoilt_networks import equal, spoilt
from torch import nn

import onefold as of
from onefold.fold import merge
from onefold.measure import evaluate

TEST = loader(512, seed=99, batch=128)


def test_a_greedy_soup_leaves_out_who_does_not_help() -> None:
    good = trained(Plain, 0)
    near = copy.deepcopy(good)  # what does not make it worse is added
    models = [spoilt(good), good, near]
    result = merge(
        models, loader(), align="none", repair="none", fold="greedy_soup", validation=TEST
    )
    assert sorted(result.report.folded["ingredients"]) == [1, 2]
    torch.testing.assert_close(result.model.head.weight, (good.head.weight + near.head.weight) / 2)
    assert of.evaluate(result.model, TEST).accuracy > 0.85
    uniform = merge(
        models, loader(), align="none", repair="none", fold="soup", weights=[5, 1, 1]
    ).model
    torch.testing.assert_close(uniform.head.weight, sum(m.head.weight for m in models) / 3)


def test_a_soup_of_one_is_that_member() -> None:
    good = trained(Residual, 1)
    result = merge([spoilt(good), good], loader(), align="cca", fold="greedy_soup")
    assert equal(result.model, good)
    assert result.report.repair == "none"
    assert any("the average with member 1 alone worse" in w for w in result.report.warnings)


def noisy(model: nn.Module, scale: float) -> nn.Module:
    twin = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(scale * torch.randn(p.shape, generator=generator))
    return twin


@pytest.mark.slow
@pytest.mark.parametrize("repair", ["none", "full"])
def test_a_greedy_soup_says_what_it_kept_and_by_how_much(repair: str) -> None:
    good = trained(Plain, 0)
    models = [noisy(good, 0.5), noisy(good, 0.01), good, copy.deepcopy(good)]
    result = merge(
        models, loader(), align="none", repair=repair, fold="greedy_soup", validation=TEST
    )
    facts = result.report.folded
    text = next(w for w in result.report.warnings if "soup" in w or "average with" in w)
    if len(facts["ingredients"]) > 1:
        assert f"of members {', '.join(map(str, facts['ingredients']))}, each" in text
    assert f"on {facts['validation examples']} held-out examples" in text
    assert facts["validation examples"] == 512
    near = [trial for trial in facts["trials"] if not trial["clear"]]
    assert (
        f"{len(near)} of {len(facts['trials'])} trials were not clearly different" in text
    ) == bool(near)
    if repair == "none":
        reached = max(facts["members"])
        kept = [facts["ingredients"][0]]
        for trial in facts["trials"]:  # the decision by what is told of it
            assert trial["difference"] == pytest.approx(trial["accuracy"] - reached)
            assert trial["kept"] or trial["accuracy"] <= reached
            assert not trial["kept"] or trial["accuracy"] >= reached
            if trial["kept"]:
                reached = trial["accuracy"]
                kept.append(trial["member"])
        assert kept == facts["ingredients"]
    final = evaluate(result.model, TEST).accuracy
    accepted = [trial["accuracy"] for trial in facts["trials"] if trial["kept"]]
    assert not accepted or final == pytest.approx(accepted[-1])


def test_a_soup_of_one_says_that_the_others_made_it_worse() -> None:
    good = trained(Plain, 0)
    result = merge(
        [good, noisy(good, 2.0)],
        loader(),
        align="none",
        repair="none",
        fold="greedy_soup",
        validation=TEST,
    )
    assert result.report.folded["ingredients"] == [0]
    (text,) = [w for w in result.report.warnings if "member 0 alone" in w]
    assert "made the average with member 0 alone worse" in text
    assert "every trial was clear" in text
    assert [t["kept"] for t in result.report.folded["trials"]] == [False]
    assert result.report.folded["trials"][0]["difference"] < 0
