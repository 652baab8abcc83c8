"""How gates are learned, and which candidate network is returned."""

from __future__ import annotations

import inspect

import pytest
import torch
from small_networks import loader
from soft_networks import Tied, bits, labelled, quick, random_members, same_bits, unaligned
from torch import nn

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
