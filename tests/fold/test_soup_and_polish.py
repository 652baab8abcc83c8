"""Soups, the automatic fold, distillation, and their wiring into merges and recipes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from small_networks import Plain, Residual, loader, members, trained
from torch import nn

import onefold as of
from onefold.errors import DataError, OnefoldError, SettingError
from onefold.fold import folds, merge, polish
from onefold.fold.auto import WAYS, led_by
from onefold.fold.least_squares import TARGETS, LeastSquares
from onefold.recipe import check
from onefold.recipe.merge.document import FoldPart
from onefold.recipe.merge.run import check_names

TEST = loader(512, seed=99, batch=128)
UNLABELLED = [x for x, _ in loader()]


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def spoilt(model: nn.Module) -> nn.Module:
    """A copy that answers at random."""
    twin = copy.deepcopy(model)
    torch.manual_seed(3)
    for p in twin.parameters():
        nn.init.normal_(p, std=0.3)
    return twin


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


def test_auto_lets_the_best_member_lead_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    good, seen = trained(Plain, 1), []
    fold = LeastSquares.fold
    monkeypatch.setattr(
        LeastSquares, "fold", lambda self, job: (seen.append(job.shares), fold(self, job))[1]
    )
    merge([spoilt(good), good], loader(), align="permutation", fold="auto", validation=TEST)
    assert seen[:-1] == [(0.5, 0.5)] * (len(WAYS) - 1)
    assert seen[-1] == pytest.approx((0.3, 0.7))


def test_auto_without_labels_takes_least_squares() -> None:
    networks = members(Plain, 2)
    result = merge(networks, UNLABELLED, align="permutation", fold="auto")
    assert equal(
        result.model, merge(networks, UNLABELLED, align="permutation", fold="least_squares").model
    )
    assert any("no labels" in w for w in result.report.warnings)


@pytest.mark.parametrize("batchnorm", ["eval", "train"])
def test_polishing_lowers_the_divergence_and_changes_nothing_else(batchnorm: str) -> None:
    teachers = members(Residual, 3)
    before = [copy.deepcopy(m) for m in teachers]
    result = polish(teachers[0], teachers, UNLABELLED, passes=6, lr=1e-3, batchnorm=batchnorm)
    assert result.divergence[-1] < 0.9 * result.divergence[0]
    assert result.steps == 6 * len(UNLABELLED)
    assert all(equal(a, b) for a, b in zip(teachers, before, strict=True))
    statistics = [
        torch.equal(result.model.norm1.running_mean, teachers[0].norm1.running_mean),
        batchnorm == "eval",
    ]
    assert statistics[0] == statistics[1]
    assert all(p.requires_grad and p.grad is None for p in result.model.parameters())
    assert not result.model.training
    again = polish(teachers[0], teachers, UNLABELLED, passes=6, lr=1e-3, batchnorm=batchnorm).model
    assert equal(result.model, again)
    assert not equal(
        result.model,
        polish(
            teachers[0], teachers, UNLABELLED, passes=6, lr=1e-3, batchnorm=batchnorm, seed=1
        ).model,
    )


def test_the_ensemble_by_logits_and_by_probabilities_differ() -> None:
    teachers = members(Plain, 2)
    one, other = (
        polish(teachers[0], teachers, UNLABELLED, passes=1, ensemble=e)
        for e in ("logits", "probabilities")
    )
    assert one.divergence != other.divergence
    own = polish(teachers[0], [teachers[0]], UNLABELLED, passes=2)
    assert own.divergence[0] < 1e-6  # distilled into itself, a network stays
    torch.testing.assert_close(own.model.head.weight, teachers[0].head.weight, atol=1e-2, rtol=0)


def test_low_precision_is_polished_in_float32() -> None:
    teachers = [m.bfloat16() for m in members(Plain, 2)]
    result = polish(teachers[0], teachers, [x.bfloat16() for x in UNLABELLED], passes=4)
    assert {p.dtype for p in result.model.parameters()} == {torch.bfloat16}
    assert not equal(result.model, teachers[0])


def test_a_merge_polishes_last() -> None:
    networks = members(Plain, 2)
    result = merge(networks, UNLABELLED, align="permutation", fold="least_squares", polish=2)
    plain = merge(networks, UNLABELLED, align="permutation", fold="least_squares").model
    assert equal(result.model, polish(plain, networks, UNLABELLED, passes=2).model)
    assert result.report.polished["passes"] == 2
    assert "polish 2 passes" in str(result.report)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda m: merge(m, UNLABELLED, align="permutation", fold="greedy_soup"),
            DataError,
            "'greedy_soup' chooses by labels, but the data has none",
        ),
        (
            lambda m: merge(m, loader()[:1], align="permutation", fold="greedy_soup"),
            DataError,
            "the calibration data is one batch",
        ),
        (
            lambda m: merge(m, loader(), fold="soup", ridge=0.1),
            SettingError,
            "takes no ridge; leave it out, or use auto or least_squares",
        ),
        (lambda m: merge(m, loader(), fold="auto", rows=0), SettingError, "asked for 0 rows"),
        (
            lambda m: merge(m, loader(), fold="soup", validation=iter(TEST)),
            DataError,
            "validation data is an iterator",
        ),
        (lambda m: polish(m[0], m, UNLABELLED, passes=0), SettingError, "asked for 0 passes"),
        (
            lambda m: polish(m[0], m, UNLABELLED, lr=0.0),
            SettingError,
            "rate of distillation is 0.0",
        ),
        (
            lambda m: polish(m[0], m, UNLABELLED, batchnorm="off"),
            SettingError,
            "'eval' or 'train', not 'off'",
        ),
        (
            lambda m: polish(m[0], m, UNLABELLED, ensemble="logit"),
            SettingError,
            "did you mean 'logits'",
        ),
        (lambda m: polish(m[0], m, iter(UNLABELLED)), DataError, "can be read only once"),
        (lambda m: polish(m[0], m, [x / 0 for x in UNLABELLED]), DataError, "is not finite"),
    ],
)
def test_bad_input(call: Callable, error: type[OnefoldError], message: str) -> None:
    with pytest.raises(error, match=message):
        call(members(Plain, 2))


def test_the_recipes_targets_are_those_of_least_squares() -> None:
    choices = get_args(get_args(FoldPart.model_fields["target"].annotation)[0])
    assert set(choices) == set(TARGETS)
    assert {"least_squares", "soup", "greedy_soup", "auto", "average"} <= set(folds.names())


@pytest.mark.parametrize(
    ("fold", "message"),
    [
        ({"method": "average", "ridge": 0.1}, "The fold 'average' takes no ridge"),
        ({"method": "least_squares", "target": "mean"}, "key 'fold.target'"),
        ({"method": "least_squares", "rows": 0}, "key 'fold.rows'"),
        ({"method": "least_squares", "polish": -1}, "key 'fold.polish'"),
        (
            {"method": "least_squares", "polsih": 1},
            "unknown key 'fold.polsih'; did you mean 'polish'",
        ),
    ],
)
def test_recipe_keys_are_checked(fold: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        check_names(
            check(
                {
                    "model": "digits",
                    "members": ["a.safetensors", "b.safetensors"],
                    "data": {"source": "sklearn:digits"},
                    "fold": fold,
                }
            )
        )


def test_the_command_and_its_recipe_give_the_same_bits(
    onefold: Callable, members: list[Path], tmp_path: Path
) -> None:
    flags = [
        "--align",
        "permutation",
        "--fold",
        "least_squares",
        "--target",
        "selection",
        "--rows",
        "3000",
        "--polish",
        "1",
    ]
    data = ["--model", "digits?width=4", "--data", "sklearn:digits", "--samples", "300"]
    result = onefold(
        "merge",
        *members,
        *data,
        *flags,
        "--report",
        tmp_path / "f.html",
        "-o",
        tmp_path / "f.safetensors",
    )
    assert result.status == 0, result.err
    report = json.loads((tmp_path / "f.report.json").read_text())["data"]["merge"]
    assert [one["weights"] for one in report["folded"]["layers"]] == [
        "conv1.weight",
        "conv2.weight",
        "conv3.weight",
        "head.weight",
    ]
    assert report["polished"]["passes"] == 1
    assert "Least squares" in (tmp_path / "f.html").read_text()
    again = onefold("merge", tmp_path / "f.recipe.yaml", "-o", tmp_path / "g.safetensors")
    assert again.status == 0, again.err
    assert (tmp_path / "f.safetensors").read_bytes() == (tmp_path / "g.safetensors").read_bytes()
    assert "warning" not in again.err
