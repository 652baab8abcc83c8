"""The numbers behind gates: where they start, and how far apart."""

from __future__ import annotations

import math

import pytest
import torch

from onefold.fold.soft.gates import BETA, EPS, GAMMA, LEAST, SPREAD, ZETA, Gates, deterministic, probability_open, sample


@pytest.mark.parametrize("members", [2, 5, 40])
@pytest.mark.parametrize("seed", [0, 7])
def test_gates_start_nearly_equal_and_not_quite(members: int, seed: int) -> None:
    table = Gates(2000 // members, members, seed=seed)
    log_alpha = table.log_alpha.detach()
    assert 0.009 < float(log_alpha.std()) < 0.011
    assert abs(float(log_alpha.mean())) < 0.001
    assert len(log_alpha.unique()) > 1900  # none the same, so that no two members are tied
    shares = table().detach()
    torch.testing.assert_close(shares, torch.full_like(shares, 1 / members), rtol=0.03, atol=0)
    plain = Gates(50, members, normalised=False, seed=seed)().detach()
    torch.testing.assert_close(plain, torch.full_like(plain, 0.5), rtol=0, atol=0.015)


def test_gates_of_one_member_are_fully_open_from_the_start() -> None:
    assert Gates(3, 1)().tolist() == [[1.0]] * 3


def test_the_constants_are_those_of_the_paper() -> None:
    assert (pytest.approx(2 / 3), -0.1, 1.1) == (BETA, GAMMA, ZETA)
    assert (EPS, LEAST, SPREAD) == (1e-6, 1e-3, 0.01)
    edge = math.log(-GAMMA / (ZETA - GAMMA) / (1 + GAMMA / (ZETA - GAMMA)))
    assert edge == pytest.approx(-2.398, abs=1e-3)
    assert deterministic(torch.tensor([edge - 1e-3, edge + 1e-3])).tolist() == [0.0, pytest.approx(1e-3 * 1.2 / 12 * 11 / 12, rel=0.05)]


@pytest.mark.parametrize(("log_alpha", "noise"), [(0.0, 0.5), (0.7, 0.4), (-0.9, 0.6), (0.2, 0.31)])
def test_a_gate_with_noise_is_the_stretched_sigmoid(log_alpha: float, noise: float) -> None:
    s = 1 / (1 + math.exp(-(math.log(noise) - math.log(1 - noise) + log_alpha) / (2 / 3)))
    found = sample(torch.tensor([log_alpha]).double(), torch.tensor([noise]).double())
    assert found.item() == pytest.approx(min(1.0, max(0.0, 1.2 * s - 0.1)), abs=1e-5)


def test_the_chance_of_an_open_gate() -> None:
    assert probability_open(torch.tensor(0.4).double()).item() == pytest.approx(1 / (1 + math.exp(-(0.4 + 2 / 3 * math.log(11)))))


def test_noise_at_either_end_gives_finite_gates() -> None:
    found = sample(torch.tensor([0.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double())
    assert found.tolist() == [0.0, 1.0]
