"""Distillation from the members' ensemble: it lowers the divergence and changes nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from small_networks import Plain, Residual, loader, members
from spoilt_networks import equal

from onefold.errors import DataError, OnefoldError, SettingError
from onefold.fold import Auto, Polish, merge, polish

TEST = loader(512, seed=99, batch=128)
UNLABELLED = [x for x, _ in loader()]


@pytest.mark.slow
@pytest.mark.parametrize("batchnorm", ["eval", "train"])
def test_polishing_lowers_the_divergence_and_changes_nothing_else(batchnorm: str) -> None:
    teachers = members(Residual, 3)
    before = [copy.deepcopy(m) for m in teachers]
    result = polish(
        teachers[0], teachers, UNLABELLED, Polish(passes=6, lr=1e-3, batchnorm=batchnorm)
    )
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
    again = polish(
        teachers[0], teachers, UNLABELLED, Polish(passes=6, lr=1e-3, batchnorm=batchnorm)
    ).model
    assert equal(result.model, again)
    assert not equal(
        result.model,
        polish(
            teachers[0],
            teachers,
            UNLABELLED,
            Polish(passes=6, lr=1e-3, batchnorm=batchnorm),
            seed=1,
        ).model,
    )


def test_the_ensemble_by_logits_and_by_probabilities_differ() -> None:
    teachers = members(Plain, 2)
    one, other = (
        polish(teachers[0], teachers, UNLABELLED, Polish(passes=1, ensemble=e))
        for e in ("logits", "probabilities")
    )
    assert one.divergence != other.divergence
    own = polish(teachers[0], [teachers[0]], UNLABELLED, 2)
    assert own.divergence[0] < 1e-6  # distilled into itself, a network stays
    torch.testing.assert_close(own.model.head.weight, teachers[0].head.weight, atol=1e-2, rtol=0)


def test_low_precision_is_polished_in_float32() -> None:
    teachers = [m.bfloat16() for m in members(Plain, 2)]
    result = polish(teachers[0], teachers, [x.bfloat16() for x in UNLABELLED], 4)
    assert {p.dtype for p in result.model.parameters()} == {torch.bfloat16}
    assert not equal(result.model, teachers[0])


@pytest.mark.slow
def test_a_merge_polishes_last() -> None:
    networks = members(Plain, 2)
    result = merge(networks, UNLABELLED, align="permutation", fold="least_squares", polish=2)
    plain = merge(networks, UNLABELLED, align="permutation", fold="least_squares").model
    assert equal(result.model, polish(plain, networks, UNLABELLED, 2).model)
    assert result.report.polished["passes"] == 2
    assert "polish 2 passes" in str(result.report)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda m: merge(m, UNLABELLED, align="permutation", fold="greedy_soup"),
            DataError,
            "'greedy_soup' chooses by labels, but the data has none",
        ),
        (
            lambda m: merge(
                m,
                [(x[:9], y[:9]) for x, y in loader()[:1]],
                align="permutation",
                fold="greedy_soup",
            ),
            DataError,
            "the calibration data is one batch",
        ),
        (lambda m: merge(m, loader(), fold=Auto(rows=0)), SettingError, "asked for 0 rows"),
        (
            lambda m: merge(m, loader(), fold="soup", validation=iter(TEST)),
            DataError,
            "validation data is an iterator",
        ),
        (lambda m: polish(m[0], m, UNLABELLED, 0), SettingError, "asked for 0 passes"),
        (
            lambda m: polish(m[0], m, UNLABELLED, Polish(lr=0.0)),
            SettingError,
            "rate of distillation is 0.0",
        ),
        (
            lambda m: polish(m[0], m, UNLABELLED, Polish(batchnorm="off")),
            SettingError,
            "'eval', 'train' or 'reestimate', not 'off'",
        ),
        (
            lambda m: polish(m[0], m, UNLABELLED, Polish(ensemble="logit")),
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


def test_fields_stand_for_an_object_of_settings() -> None:
    networks = members(Plain, 2)
    whole = polish(networks[0], networks, UNLABELLED, Polish(passes=1, lr=1e-3))
    apart = polish(networks[0], networks, UNLABELLED, passes=1, lr=1e-3)
    timed = {"seconds", "estimated_seconds"}
    one, other = ({k: v for k, v in r.to_dict().items() if k not in timed} for r in (whole, apart))
    assert one == other
    with pytest.raises(SettingError, match="was given settings and lr"):
        polish(networks[0], networks, UNLABELLED, 1, lr=1e-3)
    with pytest.raises(TypeError, match="rate"):
        polish(networks[0], networks, UNLABELLED, rate=1e-3)
