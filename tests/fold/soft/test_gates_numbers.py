"""The numbers behind gates: where they start, and how far apart."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from torch import Tensor, nn

from onefold.fold.soft.fit import fit_gates
from onefold.fold.soft.gates import (
    BETA,
    EPS,
    GAMMA,
    LEAST,
    SPREAD,
    ZETA,
    Gates,
    deterministic,
    probability_open,
    sample,
)
from onefold.fold.soft.sites import Site
from onefold.fold.soft.weighted import GatedLayers, weighted_sum


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


def test_gates_are_normalised_and_drawn_from_seed_0_unless_something_else_is_said() -> None:
    assert torch.equal(Gates(3, 2).log_alpha, Gates(3, 2, normalised=True, seed=0).log_alpha)
    assert not torch.equal(Gates(3, 2).log_alpha, Gates(3, 2, seed=1).log_alpha)
    torch.testing.assert_close(Gates(3, 2)().sum(-1), torch.ones(3))


def test_where_no_gate_may_be_open_the_penalty_is_zero() -> None:
    table = Gates(2, 3)
    table.alive[:] = False
    assert table.penalty().item() == 0.0


def test_gates_of_one_member_are_fully_open_from_the_start() -> None:
    assert Gates(3, 1)().tolist() == [[1.0]] * 3


def test_the_constants_are_those_of_the_paper() -> None:
    assert (pytest.approx(2 / 3), -0.1, 1.1) == (BETA, GAMMA, ZETA)
    assert (EPS, LEAST, SPREAD) == (1e-6, 1e-3, 0.01)
    edge = math.log(-GAMMA / (ZETA - GAMMA) / (1 + GAMMA / (ZETA - GAMMA)))
    assert edge == pytest.approx(-2.398, abs=1e-3)
    assert deterministic(torch.tensor([edge - 1e-3, edge + 1e-3])).tolist() == [
        0.0,
        pytest.approx(1e-3 * 1.2 / 12 * 11 / 12, rel=0.05),
    ]


@pytest.mark.parametrize(("log_alpha", "noise"), [(0.0, 0.5), (0.7, 0.4), (-0.9, 0.6), (0.2, 0.31)])
def test_a_gate_with_noise_is_the_stretched_sigmoid(log_alpha: float, noise: float) -> None:
    s = 1 / (1 + math.exp(-(math.log(noise) - math.log(1 - noise) + log_alpha) / (2 / 3)))
    found = sample(torch.tensor([log_alpha]).double(), torch.tensor([noise]).double())
    assert found.item() == pytest.approx(min(1.0, max(0.0, 1.2 * s - 0.1)), abs=1e-5)


def test_the_chance_of_an_open_gate() -> None:
    assert probability_open(torch.tensor(0.4).double()).item() == pytest.approx(
        1 / (1 + math.exp(-(0.4 + 2 / 3 * math.log(11))))
    )


def test_noise_at_either_end_gives_finite_gates() -> None:
    found = sample(torch.tensor([0.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double())
    assert found.tolist() == [0.0, 1.0]


# ---- layers of gated weights


def network(seed: int) -> nn.Module:
    """A linear layer and two norms, the second one without weight and bias."""
    torch.manual_seed(seed)
    made = (
        nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, eps=0.1), nn.BatchNorm1d(3, affine=False))
        .double()
        .eval()
    )
    for norm in made[1:]:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
    nn.init.normal_(made[1].weight)
    nn.init.normal_(made[1].bias)
    return made


SITES = [
    Site("0", "0", ("0.weight", "0.bias")),
    Site("1", "1", ("1.weight", "1.bias"), True),
    Site("2", "2", (), True),
]


@pytest.mark.parametrize("alive", [(True, True, True), (True, False, True), (False, True, False)])
@pytest.mark.parametrize("row", [(0.2, 0.5, 0.3), (0.0, 0.4, 0.9)])
def test_gated_layers_are_sums_of_the_members_outputs(
    alive: tuple[bool, ...], row: tuple[float, ...]
) -> None:
    networks, x = [network(k) for k in range(3)], torch.randn(6, 4, dtype=torch.float64)
    mask = torch.tensor([alive] * 3)
    gated = GatedLayers(networks[0], SITES, [n.state_dict() for n in networks], mask)
    gates = torch.tensor([row, row[::-1], row], dtype=torch.float64, requires_grad=True)

    def summed(value: Tensor, layer: int) -> Tensor:
        return sum(gates[layer, k] * networks[k][layer](value) for k in range(3) if alive[k])  # type: ignore[return-value]

    found = gated.run(gated.weights(gates), (x,), {})
    expected = summed(summed(summed(x, 0), 1), 2)
    torch.testing.assert_close(found, expected)
    first = networks[0][:2]
    short = GatedLayers(first, SITES[:2], [n[:2].state_dict() for n in networks], mask[:2])
    gradients = torch.autograd.grad(
        short.run(short.weights(gates[:2]), (x,), {}).square().sum(), gates
    )
    wanted = torch.autograd.grad(summed(summed(x, 0), 1).square().sum(), gates)
    torch.testing.assert_close(gradients, wanted)
    measured = {"1": (torch.full((3,), 0.5).double(), torch.full((3,), 2.0).double())}
    weights = gated.weights(gates, measured)
    assert weights["1.running_mean"].tolist() == [0.5] * 3
    assert weights["1.running_var"].tolist() == [2.0] * 3
    plain = sum(gates[1, k] * networks[k][1].weight for k in range(3) if alive[k])
    torch.testing.assert_close(weights["1.weight"], plain)
    batch = gated.weights(gates, batch=True)
    torch.testing.assert_close(batch["1.weight"], plain)
    assert "1.running_mean" not in batch


@pytest.mark.parametrize("shape", [(5,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_weighted_sums_and_the_gradient_of_their_gates(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    tensors = [
        torch.randn(shape, generator=torch.Generator().manual_seed(k)).to(dtype) for k in range(3)
    ]
    gates = torch.tensor([0.5, 0.0, 2.0], requires_grad=True)
    found = weighted_sum(gates, tensors)
    assert found.dtype == dtype
    expected = (0.5 * tensors[0].double() + 2 * tensors[2].double()).to(dtype)
    torch.testing.assert_close(
        found.detach(), expected, rtol=0.01 if dtype == torch.bfloat16 else 1e-5, atol=1e-6
    )
    upstream = torch.ones(shape, dtype=dtype)
    (slope,) = torch.autograd.grad(found, gates, upstream)
    wanted = torch.tensor([float(t.double().sum()) for t in tensors])
    torch.testing.assert_close(
        slope,
        wanted,
        rtol=0.05 if dtype == torch.bfloat16 else 1e-5,
        atol=0.02 if dtype == torch.bfloat16 else 1e-5,
    )


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
