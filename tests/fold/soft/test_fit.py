"""How gates are learned, and which candidate network is returned."""

from __future__ import annotations

import inspect
import time

import pytest
import torch
from small_networks import loader
from soft_networks import Tied, bits, labelled, quick, random_members, same_bits, unaligned
from torch import nn

from onefold.errors import SettingError
from onefold.fold import SoftMerge, fit_gates


def test_gates_are_learned_with_these_settings_unless_others_are_given() -> None:
    chosen = {name: p.default for name, p in inspect.signature(fit_gates).parameters.items()}
    assert {
        k: chosen[k] for k in ("share", "steps", "lr", "penalty", "batch_size", "fallback", "seed")
    } == {
        "share": 0.3,
        "steps": 300,
        "lr": 0.1,
        "penalty": 0.01,
        "batch_size": 128,
        "fallback": True,
        "seed": 0,
    }


@pytest.mark.slow
def test_the_best_of_the_candidates_on_held_out_data_is_returned(residual: list[nn.Module]) -> None:
    result = fit_gates(SoftMerge(residual, "layer"), loader(512), steps=60)
    assert set(result.scores) == {"gated", "aligned average", "member 0", "member 1", "member 2"}
    assert result.scores[result.choice].accuracy == max(s.accuracy for s in result.scores.values())
    assert result.choice in str(result)
    assert result.to_dict()["choice"] == result.choice
    assert len(result.losses) == 60
    assert set(result.seconds) >= {"screen and align", "learn gates", "choose"}
    assert any(
        "alignment chosen by the loss of the plain average at its best temperature" in note
        for note in result.notes
    )
    assert not result.soft.training
    assert not result.model.training


def test_without_fallback_nothing_is_held_out_and_the_gated_network_is_returned(
    plain: list[nn.Module],
) -> None:
    result = quick(SoftMerge(plain, "model"), fallback=False)
    assert result.choice == "gated"
    assert result.scores == {}
    assert result.examples == {"learned from": 256, "chosen on": 0}
    assert quick(SoftMerge(plain, "model"), share=0.25).examples == {
        "learned from": 192,
        "chosen on": 64,
    }
    assert str(result).startswith("gated")


def test_the_setting_of_noise_is_as_before_after_learning(plain: list[nn.Module]) -> None:
    for stochastic in (True, False):
        soft = SoftMerge(plain, "layer", align="none", stochastic=stochastic)
        quick(soft)
        assert soft.stochastic is stochastic
    assert SoftMerge(plain, "model").stochastic is True
    assert SoftMerge(plain, "layer").stochastic is False


def test_tied_weights_survive_fitting() -> None:
    soft = unaligned(random_members(Tied, 2), "layer")
    data = [(x, x[:, 0]) for x, _ in labelled(Tied)]
    model = fit_gates(soft, data, steps=3).model
    assert model.head.weight is model.embedding.weight


def test_dropout_is_off_and_ungated_norms_keep_their_statistics_in_training_mode() -> None:
    torch.manual_seed(0)
    networks = [
        nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4))
        for _ in range(2)
    ]
    before = [bits(n) for n in networks]
    soft = unaligned(networks, "layer", include=["0", "3"]).train()
    x = torch.randn(16, 8)
    assert torch.equal(soft(x), soft(x))
    assert all(same_bits(bits(n), b) for n, b in zip(networks, before, strict=True))


def test_members_that_were_prepared_are_not_screened_again(plain: list[nn.Module]) -> None:
    soft = SoftMerge(plain, "model").prepare(loader(64, seed=3))
    scores = soft.scores
    quick(soft)
    assert soft.scores is scores
    fresh = SoftMerge(plain, "model")
    quick(fresh)
    assert fresh.scores is not None


def test_what_a_fit_took_is_told_in_seconds_of_each_step(plain: list[nn.Module]) -> None:
    start = time.perf_counter()
    seconds = quick(SoftMerge(plain, "model")).seconds
    assert list(seconds) == ["screen and align", "learn gates", "choose"]
    assert min(seconds.values()) >= 0
    assert sum(seconds.values()) <= time.perf_counter() - start


@pytest.mark.parametrize(
    ("allowed", "refused"),
    [
        ({"steps": 1}, {"steps": 0}),
        ({"batch_size": 1}, {"batch_size": 0}),
        ({"lr": 1e-9}, {"lr": 0.0}),
        ({"penalty": 0.0}, {"penalty": -1e-9}),
    ],
)
def test_the_least_settings_that_are_taken(
    plain: list[nn.Module], allowed: dict[str, float], refused: dict[str, float]
) -> None:
    settings = {"steps": 2, "fallback": False}
    soft = unaligned(plain, "model")
    losses = fit_gates(soft, loader(16), **(settings | allowed)).losses  # type: ignore[arg-type]
    assert len(losses) == (settings | allowed)["steps"]
    with pytest.raises(SettingError, match=f"{next(iter(refused))} (is )?-?[01]"):
        fit_gates(soft, loader(16), **(settings | refused))  # type: ignore[arg-type]
