"""Gated layers: sums of the members' outputs, their gradients, and precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from onefold.fold.soft.sites import Site
from onefold.fold.soft.weighted import GatedLayers, weighted_sum


def test_gradients_of_gates_are_those_of_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(3, 4, dtype=torch.complex128, generator=generator) for _ in range(3)]
    aim = torch.randn(3, 4, dtype=torch.complex128, generator=generator)
    found = []
    for weigh in (
        weighted_sum,
        lambda gates, all_: sum(g * t for g, t in zip(gates, all_, strict=True)),
    ):
        gates = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64, requires_grad=True)
        (weigh(gates, tensors) * aim).abs().square().sum().backward()
        found.append(gates.grad)
    assert found[0] is not None
    torch.testing.assert_close(found[0], found[1])


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
        return sum(gates[layer, k] * networks[k][layer](value) for k in range(3) if alive[k])

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


@pytest.mark.parametrize(
    "row", [(0.0, 1.0, 0.0), (1.0, 1.0, 1.0), (1.0, 0.0, 1.0), (0.0, 0.0, 0.0)]
)
def test_gates_of_exactly_0_and_1_leave_out_and_add_whole_tensors(row: tuple[float, ...]) -> None:
    tensors = [torch.full((3,), 10.0**k, dtype=torch.float64) for k in range(3)]
    found = weighted_sum(torch.tensor(row, dtype=torch.float64), tensors)
    assert found.tolist() == [sum(g * 10**k for k, g in enumerate(row))] * 3


def test_norms_use_the_batch_where_that_is_asked_for_and_record_nothing() -> None:
    networks = [network(k) for k in range(2)]
    x = torch.randn(16, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    before = [{k: v.clone() for k, v in n.state_dict().items()} for n in networks]
    alive = torch.ones(3, 2, dtype=torch.bool)
    gated = GatedLayers(networks[0], SITES, [n.state_dict() for n in networks], alive)
    gates = torch.tensor([[0.3, 0.7]] * 3, dtype=torch.float64)
    found = gated.run(gated.weights(gates, batch=True), (x,), {}, batch=True)
    features = 0.3 * networks[0][0](x) + 0.7 * networks[1][0](x)
    for norm, others in zip(networks[0][1:], networks[1][1:], strict=True):
        spread = (features.var(0, unbiased=False) + norm.eps).sqrt()
        features = (features - features.mean(0)) / spread
        if norm.affine:
            features = features * (0.3 * norm.weight + 0.7 * others.weight)
            features = features + 0.3 * norm.bias + 0.7 * others.bias
    torch.testing.assert_close(found, features)
    for own, kept in zip(networks, before, strict=True):
        assert all(torch.equal(value, kept[name]) for name, value in own.state_dict().items())
