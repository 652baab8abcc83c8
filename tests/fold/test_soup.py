"""Soups: who does not help is left out, and reasons say so."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import Plain, Residual, loader, trained
from spoilt_networks import equal, spoilt
from torch import nn

import onefold as of
from onefold.fold import MergeResult, merge
from onefold.fold.soup import improves
from onefold.measure import evaluate
from onefold.measure.paired import Difference

TEST = loader(512, seed=99, batch=128)


def souped(*models: nn.Module) -> MergeResult[nn.Module]:
    """The greedy soup of networks as they are."""
    return merge(
        list(models), loader(), align="none", repair="none", fold="greedy_soup", validation=TEST
    )


def test_a_greedy_soup_leaves_out_who_does_not_help() -> None:
    good = trained(Plain, 0)
    apart = [noisy(good, 0.15, seed) for seed in (1, 2)]  # their mean is nearer to `good`
    models = [spoilt(good), *apart]
    result = merge(
        models, loader(), align="none", repair="none", fold="greedy_soup", validation=TEST
    )
    assert sorted(result.report.folded["ingredients"]) == [1, 2]
    torch.testing.assert_close(
        result.model.head.weight, (apart[0].head.weight + apart[1].head.weight) / 2
    )
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
    assert any("the average with member 1 alone better" in w for w in result.report.warnings)


def test_what_is_level_stays_out() -> None:
    """A copy of the best member changes nothing, and a soup of one is the simpler one."""
    good = trained(Plain, 0)
    result = souped(good, copy.deepcopy(good))
    assert result.report.folded["ingredients"] == [0]
    (note,) = [note for note in result.notes if "average with member 0 alone" in note]
    assert "1 of 1 trials were left out, 1 of them not clearly worse" in note


@pytest.mark.parametrize(
    ("gain", "p", "loss", "error", "better"),
    [
        (0.02, 0.1, 0.5, 0.1, True),  # accuracy decides where it is clear
        (-0.02, 0.1, -0.5, 0.1, False),
        (0.01, 0.9, -0.3, 0.1, True),  # else the loss, if that is clear
        (-0.01, 0.9, -0.3, 0.1, True),
        (0.01, 0.9, -0.05, 0.1, False),
        (0.0, 1.0, 0.0, 0.0, False),
        (0.0, 1.0, -0.1, float("nan"), False),
    ],
)
def test_a_trial_is_kept_if_it_leads(
    gain: float, p: float, loss: float, error: float, better: bool
) -> None:
    assert improves(Difference(gain, 0.01, loss, error, 3, 1, p, 200)) == better


def noisy(model: nn.Module, scale: float, seed: int = 7) -> nn.Module:
    twin = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
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
    out = [trial for trial in facts["trials"] if not trial["kept"]]
    assert (f"{len(out)} of {len(facts['trials'])} trials were left out" in text) == bool(out)
    near = [trial for trial in out if not trial["clear"]]
    assert (f", {len(near)} of them not clearly worse" in text) == bool(near)
    if repair == "none":
        reached = max(facts["members"])
        kept = [facts["ingredients"][0]]
        for trial in facts["trials"]:  # the decision by what is told of it
            assert trial["difference"] == pytest.approx(trial["score"] - reached)
            clear_loss = trial["loss difference"] < -trial["loss standard error"]
            assert not trial["kept"] or trial["difference"] > 0 or clear_loss
            if trial["kept"]:
                reached = trial["score"]
                kept.append(trial["member"])
        assert kept == facts["ingredients"]
    final = evaluate(result.model, TEST).accuracy
    accepted = [trial["score"] for trial in facts["trials"] if trial["kept"]]
    assert not accepted or final == pytest.approx(accepted[-1])


def test_a_soup_of_one_says_that_the_others_made_it_worse() -> None:
    good = trained(Plain, 0)
    result = souped(good, noisy(good, 2.0))
    assert result.report.folded["ingredients"] == [0]
    (text,) = [w for w in result.report.warnings if "member 0 alone" in w]
    assert "no other member made the average with member 0 alone better" in text
    assert "1 of 1 trials were left out, all of them clearly worse" in text
    assert [t["kept"] for t in result.report.folded["trials"]] == [False]
    assert result.report.folded["trials"][0]["difference"] < 0
