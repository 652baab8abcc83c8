"""Repair of norms whose scales are negative, tiny or zero, and of layers without any."""

from __future__ import annotations

import copy

import pytest
import torch
from norm_places import images, settled
from signed_norms import Ahead, Mlp, Upwards, signed
from small_networks import Residual
from torch import Tensor, nn
from torch.nn import functional

from onefold.alignment import Moments, Target
from onefold.batches import RankShare
from onefold.fold import merge
from onefold.fold.repair import repair
from onefold.symmetry import SymmetrySpec, find_symmetries, trace


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
    result = merge(
        [network, copy.deepcopy(network)], [x], align="permutation", repair=how, fold="average"
    )
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


class Convolved(nn.Module):
    """Two hidden layers without norms over pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 5, 1)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.two(functional.relu(self.one(x))))
        return self.head(x.mean((2, 3)))


class Picked(nn.Module):
    """Hidden layers that read three examples of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(192, 6), nn.Linear(6, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.one(x[:3].flatten(1)))
        return self.head(torch.tanh(self.two(x)))


def hidden_targets(
    network: nn.Module, x: Tensor, seed: int = 0
) -> tuple[SymmetrySpec, dict[str, Target]]:
    """The symmetries, and random targets for the layers `one` and `two`."""
    spec, generator = find_symmetries(network, x), torch.Generator().manual_seed(seed)
    made = {}
    for layer in spec.layers:
        if layer.weight.startswith(("one", "two")):
            channels = network.get_parameter(layer.weight).shape[0]
            mean, deviation = torch.rand(2, channels, generator=generator, dtype=torch.float64)
            made[layer.output] = Target(mean - 0.5, deviation + 0.5)
    assert len(made) == 2
    return spec, made


def check(value: Tensor, targets: dict[str, Target]) -> None:
    """The features (n, channels) have the statistics of the target of so many channels."""
    target = next(t for t in targets.values() if len(t.mean) == value.shape[1])
    torch.testing.assert_close(value.detach().mean(0), target.mean)
    torch.testing.assert_close(value.detach().std(0, unbiased=False), target.deviation)


def drawn(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(7)
    return kind().double().eval()


@pytest.mark.parametrize(("sizes", "short"), [([40], 1), ([20, 20], 3), ([64, 32], 7)])
def test_a_short_last_batch_is_left_out_of_a_repair(sizes: list[int], short: int) -> None:
    pictures = images(sum(sizes) + short).double()
    *large, last = pictures.split([*sizes, short])
    networks = [drawn(Convolved) for _ in range(2)]
    spec, targets = hidden_targets(networks[0], pictures)
    for network, data in zip(networks, (large, [*large, last]), strict=True):
        report = repair(network, data, spec, targets)
        assert (report.norms, report.layers, report.settled) == (0, 2, 0)
    for name, value in networks[0].state_dict().items():
        assert torch.equal(value, networks[1].state_dict()[name]), name


@pytest.mark.parametrize("sizes", [[1] * 24, [3] * 8, [7, 5, 7, 5], [8, 8, 4, 4]])
def test_small_batches_are_repaired_by_the_statistics_of_all_of_them(sizes: list[int]) -> None:
    """A layer of many values in each example too: its batches are small all the same."""
    pictures = images(24).double()
    networks = [drawn(Convolved) for _ in range(2)]
    spec, targets = hidden_targets(networks[0], pictures)
    for network, data in zip(networks, ([pictures], pictures.split(sizes)), strict=True):
        repair(network, list(data), spec, targets)
    for name, value in networks[0].state_dict().items():
        torch.testing.assert_close(value, networks[1].state_dict()[name])


@pytest.mark.parametrize("batch", [12, 16, 24])
def test_layers_that_read_few_values_of_large_batches_are_repaired_by_all_of_them(
    batch: int,
) -> None:
    pictures, network = images(48).double(), drawn(Picked)
    spec, targets = hidden_targets(network, pictures[:batch])
    data = list(pictures.split(batch))
    repair(network, data, spec, targets)
    one = network.one(torch.cat([x[:3] for x in data]).flatten(1))
    check(one, targets)
    check(network.two(torch.tanh(one)), targets)


@pytest.mark.parametrize("first", [True, False])
def test_layers_from_the_input_on_that_are_as_wanted_are_left_alone(first: bool) -> None:
    """Batches that differ are no reason to correct what is right over all of them."""
    data = [scale * images(16, k).double() for k, scale in enumerate((0.5, 1.0, 3.0))]
    network = drawn(Convolved)
    spec, targets = hidden_targets(network, data[0])
    value = network.one(torch.cat(data))
    for node, target in targets.items():
        if len(target.mean) == 5:
            value = network.two(torch.relu(value))
        rows = value.detach().movedim(1, -1).flatten(0, -2)
        if first or len(target.mean) == 5:
            targets[node] = Target(rows.mean(0), rows.std(0, unbiased=False))
    before = {name: v.clone() for name, v in network.state_dict().items()}
    report = repair(network, data, spec, targets)
    assert report.settled == (2 if first else 0)
    for name, own in network.state_dict().items():
        assert torch.equal(own, before[name]) == (first or name.startswith("head")), name


class Branches(nn.Module):
    """A norm that runs at two places of other scales, and a layer without one behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 6, 1)
        self.norm, self.two = nn.BatchNorm2d(6), nn.Linear(12, 7)
        self.one, self.head = nn.Linear(7, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        both = [
            functional.relu(self.norm(y)).mean((2, 3))
            for y in (self.left(x), 4 * self.right(x) + 2)
        ]
        return self.head(torch.tanh(self.one(torch.tanh(self.two(torch.cat(both, 1))))))


@pytest.mark.parametrize("off_by", [0.5, 2.0, 10.0])
def test_layers_behind_a_norm_of_several_places_are_as_wanted_in_the_network_as_it_runs(
    off_by: float,
) -> None:
    """In training the norm would have the statistics of one place after the other."""
    x = images(64).double()
    network = settled(Branches, [images(64)]).double()
    network.norm.running_mean += off_by
    spec, targets = hidden_targets(network, x)
    report = repair(network, [x], spec, targets)
    assert (report.norms, report.layers) == (1, 2)
    read = [
        functional.relu(network.norm(y)).mean((2, 3))
        for y in (network.left(x), 4 * network.right(x) + 2)
    ]
    two = network.two(torch.cat(read, 1))
    check(two, targets)
    check(network.one(torch.tanh(two)), targets)
