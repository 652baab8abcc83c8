"""Repair of norms whose scales are negative, tiny or zero, and of layers without any."""

from __future__ import annotations

import copy

import pytest
import torch
from signed_norms import Ahead, Mlp, Upwards, signed
from small_networks import Residual
from torch import Tensor, nn

from onefold.alignment import Moments, Target
from onefold.batches import RankShare
from onefold.fold import merge
from onefold.fold.repair import repair
from onefold.symmetry import find_symmetries, trace


def off(a: nn.Module, b: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return float((a(x) - b(x)).abs().max() / b(x).abs().max())


@pytest.mark.parametrize("kind", [Mlp, Upwards, Residual, Ahead])
@pytest.mark.parametrize("signs", ["mixed", "negative"])
@pytest.mark.parametrize("how", ["full", "batchnorm"])
def test_repair_keeps_the_function_whatever_the_signs_of_scales(
    kind: type[nn.Module], signs: str, how: str
) -> None:
    network, x = signed(kind, signs)
    result = merge([network, copy.deepcopy(network)], [x], align="permutation", repair=how)
    assert off(result.model, network, x) < 0.01


@pytest.mark.parametrize("signs", ["mixed", "negative", "positive"])
def test_a_norm_that_is_given_a_target_has_its_mean_and_deviation_and_its_own_sign(
    signs: str,
) -> None:
    network, x = signed(Mlp, signs)
    spec = find_symmetries(network, x)
    node = spec.norms[0].node
    target = Target(torch.linspace(-2, 2, 7).double(), torch.linspace(0.3, 3, 7).double())
    before = network.norm1(network.one(x)).detach()
    report = repair(network, [x], spec, {node: target})
    after = network.norm1(network.one(x)).detach()
    torch.testing.assert_close(after.mean(0), target.mean)
    torch.testing.assert_close(after.std(0, unbiased=False), target.deviation)
    standard = [(y - y.mean(0)) / y.std(0, unbiased=False) for y in (before, after)]
    torch.testing.assert_close(
        standard[1], standard[0]
    )  # the features are shifted and scaled, and not turned round
    assert (report.norms, report.layers, report.dead) == (2, 0, 0)


def test_a_scale_of_zero_leaves_its_statistics_and_becomes_the_targets() -> None:
    network, x = signed(Mlp, "positive")
    network.norm1.weight.data[2] = 0.0
    mean, variance = network.norm1.running_mean[2].clone(), network.norm1.running_var[2].clone()
    spec = find_symmetries(network, x)
    target = Target(torch.ones(7).double(), torch.full((7,), 2.0).double())
    report = repair(network, [x], spec, {spec.norms[0].node: target})
    assert report.dead == 1
    assert network.norm1.running_mean[2] == mean
    assert network.norm1.running_var[2] == variance
    assert network.norm1.weight[2] == 2.0
    assert network.norm1.bias[2] == 1.0


def test_dead_is_told_beside_what_is_wanted() -> None:
    """A channel whose deviation is below a millionth of its target is shifted and not blown up."""
    network, x = signed(Mlp, "positive")
    spec = find_symmetries(network, x)
    before = network.norm1(network.one(x)).detach()
    wanted = torch.tensor([1.0, 1e9, 1e3, 1.0, 1e9, 1.0, 1.0], dtype=torch.float64)
    report = repair(
        network, [x], spec, {spec.norms[0].node: Target(torch.zeros(7).double(), wanted)}
    )
    assert report.dead == 2
    after = network.norm1(network.one(x)).detach()
    torch.testing.assert_close(after[:, 2].std(unbiased=False), wanted[2])
    assert bool((before.std(0) > 0.1).all())


class Bare(nn.Module):
    """Layers without norms, one of them without a bias as well."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = (
            nn.Linear(5, 6),
            nn.Linear(6, 7, bias=False),
            nn.Linear(7, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.two(torch.tanh(self.one(x)))))


def test_a_layer_without_bias_or_norm_is_left_alone_and_named() -> None:
    torch.manual_seed(0)
    network, x = Bare().double().eval(), torch.randn(200, 5, dtype=torch.float64)
    spec = find_symmetries(network, x)
    nodes = {layer.weight: layer.output for layer in spec.layers}
    targets = {
        nodes["one.weight"]: Target(torch.full((6,), 0.5).double(), torch.full((6,), 2.0).double())
    }
    targets[nodes["two.weight"]] = Target(torch.zeros(7).double(), torch.ones(7).double())
    before = {k: v.clone() for k, v in network.state_dict().items()}
    report = repair(network, [x[:150], x[150:]], spec, targets)
    assert (report.norms, report.layers, report.dead, report.skipped) == (0, 1, 0, ["two.weight"])
    value = network.one(x).detach()
    torch.testing.assert_close(value.mean(0), torch.full((6,), 0.5).double())
    torch.testing.assert_close(value.std(0, unbiased=False), torch.full((6,), 2.0).double())
    for name in ("two.weight", "head.weight", "head.bias"):
        assert torch.equal(network.state_dict()[name], before[name])


def test_a_process_without_a_batch_takes_part_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one process measured on all batches is kept, and merged with what another one has, which
    got none.
    """
    networks = [signed(Residual, "mixed")[0] for _ in range(2)]
    x, seen = signed(Residual, "mixed")[1], []
    spec = find_symmetries(networks[0], x)
    targets = {
        spec.norms[0].node: Target(
            torch.linspace(-1, 1, 6).double(), torch.linspace(0.5, 3, 6).double()
        )
    }
    monkeypatch.setattr(Moments, "reduced", lambda own: seen.append(own) or own)
    repair(networks[0], RankShare([x], 0, 2), spec, targets)
    monkeypatch.setattr(Moments, "reduced", lambda own: own.merge(seen.pop(0)))
    traced = trace(networks[1], (x,))
    repair(networks[1], RankShare([x], 1, 2), spec, targets, traced=traced)
    for a, b in zip(
        networks[0].state_dict().values(), networks[1].state_dict().values(), strict=True
    ):
        torch.testing.assert_close(a, b)
