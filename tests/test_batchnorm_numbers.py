"""Signs and guards of norms: what folding and repair do with scales that are negative, tiny or
zero.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from small_networks import Residual, examples
from torch import Tensor, nn

from onefold.alignment import Moments, Target
from onefold.batches import RankShare
from onefold.batchnorm import fold_norms, neutralised, norms_of, reestimate
from onefold.fold import merge
from onefold.fold.repair import repair
from onefold.layers import Layer, Norm
from onefold.symmetry import find_symmetries, trace


class Mlp(nn.Module):
    """Linear layers with norms over rows of features."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm1 = nn.Linear(5, 7), nn.BatchNorm1d(7)
        self.two, self.norm2 = nn.Linear(7, 6, bias=False), nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.norm1(self.one(x)))
        return self.head(F.relu(self.norm2(self.two(x))))


class Upwards(nn.Module):
    """A grouped transposed convolution and one over a series."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.norm1 = nn.ConvTranspose1d(4, 6, 3, groups=2), nn.BatchNorm1d(6)
        self.line, self.norm2 = nn.Conv1d(6, 5, 3), nn.BatchNorm1d(5)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm1(self.up(x)))
        return self.head(F.relu(self.norm2(self.line(x))).mean(2))


class Ahead(nn.Module):
    """Norms ahead of their layers, which fold into nothing, so that their signs stay with them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 5, 3, padding=1)
        self.norm1, self.conv1 = nn.BatchNorm2d(5), nn.Conv2d(5, 5, 3, padding=1)
        self.norm2, self.head = nn.BatchNorm2d(5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.conv1(F.relu(self.norm1(x)))
        return self.head(F.relu(self.norm2(x)).mean((2, 3)))


INPUTS = {
    Ahead: lambda: examples(128, 1)[0],
    Mlp: lambda: torch.randn(400, 5, generator=torch.Generator().manual_seed(1)),
    Upwards: lambda: torch.randn(200, 4, 9, generator=torch.Generator().manual_seed(1)),
    Residual: lambda: examples(128, 1)[0],
}
SIGNS = {"mixed": (-1.0, 1.0), "negative": (-1.0,), "positive": (1.0,)}


def signed(kind: type[nn.Module], signs: str) -> tuple[nn.Module, Tensor]:
    """A float64 network whose norms have scales of these signs and the statistics of the inputs."""
    torch.manual_seed(3)
    network, x = kind().double(), INPUTS[kind]().double()
    for norm in norms_of(network):
        pattern = torch.tensor(SIGNS[signs]).repeat(norm.num_features)[: norm.num_features]
        norm.weight.data = (pattern * torch.linspace(0.5, 2.0, norm.num_features)).double()
        nn.init.normal_(norm.bias)
    reestimate(network, [x])
    return network.eval(), x


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


@pytest.mark.parametrize("kind", [Mlp, Ahead])
def test_statistics_that_are_off_are_measured_again(kind: type[nn.Module]) -> None:
    network, x = signed(kind, "mixed")
    expected = network(x).detach()
    for norm in norms_of(network):
        norm.running_mean += 0.7
        norm.running_var *= 3.0
    assert (network(x) - expected).abs().max() > 0.1 * expected.abs().max()
    report = repair(network, [x], find_symmetries(network, x), {})
    assert (report.norms, report.dead) == (2, 0)
    assert (
        (network(x) - expected).abs().max() < 0.01 * expected.abs().max()
    )  # variances of a sample, here by n and there by n - 1


def test_only_the_norms_that_are_named_are_measured_again() -> None:
    network, x = signed(Mlp, "mixed")
    before = network.norm1.running_mean.clone(), network.norm2.running_mean.clone()
    assert reestimate(network, [2 * x], only={"norm2", "head"}) == 1
    assert torch.equal(network.norm1.running_mean, before[0])
    assert not torch.allclose(network.norm2.running_mean, before[1])
    assert reestimate(network, [x], only=set()) == 0
    assert reestimate(network, [x]) == 2
    torch.testing.assert_close(network.norm2.running_mean, before[1])


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


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e-4, -1e-4, 3e-3, -3e-3, 0.04, 1.0])
def test_scales_too_small_for_their_eps_are_folded_without_a_negative_variance(
    scale: float, eps: float
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, eps=eps)).double().eval()
    network[1].weight.data = torch.tensor([scale, 0.7, scale], dtype=torch.float64)
    nn.init.normal_(network[1].bias)
    network[1].running_mean.normal_()
    norm = Norm("norm", "1.weight", "1.bias", "1.running_mean", "1.running_var", eps)
    layer = Layer("layer", "linear", "0.weight", "0.bias", 0, "x", "norm", 1, 1, norm)
    x = torch.randn(20, 4, dtype=torch.float64)
    expected = network(x).detach()
    network.load_state_dict(fold_norms(network.state_dict(), [layer]))
    assert bool((network[1].running_var >= 0).all())
    torch.testing.assert_close(network(x).detach(), expected)
    large = scale**2 > 2 * eps
    assert network[1].weight[0] == (abs(scale) if large else 1.0)
    again = neutralised(network.state_dict(), [layer])
    assert all(torch.equal(again[k], v) for k, v in network.state_dict().items())


@pytest.mark.parametrize(("scale", "shift"), [("scale", None), (None, "shift"), (None, None)])
@pytest.mark.parametrize("fold", [fold_norms, neutralised])
def test_norms_without_scale_or_shift_are_left_alone(
    scale: str | None, shift: str | None, fold: Callable[..., dict[str, Tensor]]
) -> None:
    norm = Norm("norm", scale, shift, "mean", "variance", 0.01)
    layer = Layer("l", "linear", "w", None, 0, "x", "norm", 1, 1, norm)
    state = {name: torch.full((4,), 3.0) for name in ("scale", "shift", "mean", "variance")} | {
        "w": torch.ones(4, 2)
    }
    found = fold(state, [layer])
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_the_guard_starts_where_the_variance_would_be_less_than_eps() -> None:
    layer = Layer(
        "l",
        "linear",
        "w",
        None,
        0,
        "x",
        "norm",
        1,
        1,
        Norm("norm", "scale", "shift", "mean", "variance", 0.01),
    )
    scale = torch.tensor(
        [0.13, 0.15, -0.13, -0.15], dtype=torch.float64
    )  # of squares 0.0169 and 0.0225, beside 2 eps = 0.02
    state = {
        "w": torch.ones(4, 2),
        "scale": scale,
        "shift": torch.zeros(4),
        "mean": torch.zeros(4),
        "variance": torch.ones(4).double(),
    }
    found = neutralised(state, [layer])
    torch.testing.assert_close(
        found["scale"], torch.tensor([1.0, 0.15, 1.0, -0.15], dtype=torch.float64)
    )
    torch.testing.assert_close(found["variance"], found["scale"] ** 2 - 0.01)
