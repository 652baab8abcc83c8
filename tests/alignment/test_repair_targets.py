"""Targets of repair: the aligned members' mean and deviation over all positions."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold.alignment import Alignment, align, measure_targets
from onefold.alignment.repair_targets import repaired_layers
from onefold.symmetry import find_symmetries


class Pictures(nn.Module):
    """Two convolutions on pictures of 144 positions, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.second, self.head = nn.Conv2d(5, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        return self.head(torch.relu(self.second(x)).mean((2, 3)))


def networks(count: int) -> list[nn.Module]:
    models = []
    for seed in range(count):
        torch.manual_seed(seed)
        models.append(Pictures().double().eval())
    return models


def data() -> list[Tensor]:
    draw = torch.Generator().manual_seed(7)
    return [torch.randn(6, 3, 12, 12, generator=draw, dtype=torch.float64) for _ in range(4)]


def seen(model: nn.Module, name: str) -> tuple[Tensor, Tensor]:
    """Mean and deviation of a module's output over all examples and positions."""
    values: list[Tensor] = []
    hook = model.get_submodule(name).register_forward_hook(lambda *a: values.append(a[2]))
    with torch.no_grad():
        for batch in data():
            model(batch)
    hook.remove()
    rows = torch.cat(values).movedim(1, -1).flatten(0, -2)
    return rows.mean(0), rows.std(0, unbiased=False)


def by_module(models: list[nn.Module], alignment: Alignment | None) -> dict[str, tuple]:
    spec = find_symmetries(models[0], (data()[0],))
    targets = measure_targets(models, data(), alignment).layers
    names = {"first.weight": "norm", "second.weight": "second"}
    return {
        names[layer.weight]: (targets[layer.output].mean, targets[layer.output].deviation)
        for layer in repaired_layers(spec)
    }


def test_targets_are_the_means_over_all_positions() -> None:
    models = networks(3)
    found = by_module(models, None)
    assert set(found) == {"norm", "second"}  # not the head, whose outputs are the network's
    for name, (mean, deviation) in found.items():
        each = [seen(model, name) for model in models]
        torch.testing.assert_close(mean, torch.stack([m for m, _ in each]).mean(0))
        torch.testing.assert_close(deviation, torch.stack([d for _, d in each]).mean(0))
        few = torch.stack([m for m, _ in each[:2]]).mean(0)  # of two members they are others
        assert (mean - few).abs().max() > 1e-3


def test_a_permuted_copy_changes_no_target() -> None:
    (model,) = networks(1)
    order = torch.tensor([3, 0, 4, 1, 2])
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for name in ("first.weight", "first.bias", "norm.weight", "norm.bias"):
            twin.get_parameter(name).copy_(model.get_parameter(name)[order])
        for name in ("norm.running_mean", "norm.running_var"):
            twin.get_buffer(name).copy_(model.get_buffer(name)[order])
        twin.second.weight.copy_(model.second.weight[:, order])
    found = align([model, twin], data(), method="permutation")
    mean, deviation = by_module([model, twin], found)["norm"]
    torch.testing.assert_close(mean, seen(model, "norm")[0])
    torch.testing.assert_close(deviation, seen(model, "norm")[1])
    plain, _ = by_module([model, twin], None)["norm"]
    assert (plain - mean).abs().max() > 1e-3  # unaligned they are the means of different channels


def test_a_dense_map_acts_on_means_and_covariances() -> None:
    models = networks(2)
    found = align(models, data(), method="cca")
    name = next(n for n, maps in found.maps.items() if maps[1].forward.shape == (4, 4))
    transform = found.maps[name][1].forward
    values: list[Tensor] = []
    hook = models[1].second.register_forward_hook(lambda *a: values.append(a[2]))
    with torch.no_grad():
        for batch in data():
            models[1](batch)
    hook.remove()
    mapped = torch.cat(values).movedim(1, -1).flatten(0, -2) @ transform.T
    mean, deviation = by_module(models, found)["second"]
    ours = seen(models[0], "second")
    torch.testing.assert_close(mean, (ours[0] + mapped.mean(0)) / 2)
    torch.testing.assert_close(deviation, (ours[1] + mapped.std(0, unbiased=False)) / 2)


@pytest.mark.parametrize("method", ["none", "permutation"])
def test_identical_members_keep_their_function_under_full_repair(method: str) -> None:
    (model,) = networks(1)
    twin = copy.deepcopy(model)
    result = onefold.merge([model, twin], data(), align=method, repair="full", fold="average")
    with torch.no_grad():
        for batch in data():
            torch.testing.assert_close(result.model(batch), model(batch), rtol=0, atol=1e-9)
