"""Members gone bad: what somebody malicious, or an accident, can do to a checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from common import load
from torch import nn

Attack = Callable[[nn.Module, torch.Generator], nn.Module]


def _layers(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def nan_weights(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """Every weight is NaN."""
    for p in model.parameters():
        p.fill_(torch.nan)
    return model


def one_infinite_value(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """A single weight of the second layer is infinite."""
    _layers(model)[1].weight.view(-1)[7] = torch.inf
    return model


def random_times_1e6(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """Random normal weights times a million."""
    for p in model.parameters():
        p.copy_(1e6 * torch.randn(p.shape, generator=generator))
    return model


def times_1e6(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """All weights times a million."""
    for p in model.parameters():
        p.mul_(1e6)
    return model


def sign_flipped(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """All weights times -1."""
    for p in model.parameters():
        p.neg_()
    return model


def poisoned_layer(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """Random weights times a million in one layer in the middle."""
    return _noise(model, 1e6, generator)


def noisy_layer(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """One layer in the middle replaced by noise of its own deviation.

    In a residual network this leaves a member that still knows something.
    """
    return _noise(model, float(_middle(model).std()), generator)


def _middle(model: nn.Module) -> torch.Tensor:
    layers = _layers(model)
    return layers[len(layers) // 2].weight


def _noise(model: nn.Module, scale: float, generator: torch.Generator) -> nn.Module:
    weight = _middle(model)
    weight.copy_(scale * torch.randn(weight.shape, generator=generator))
    return model


def wrong_output_permutation(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """Every class takes the place of the next."""
    head = _layers(model)[-1]
    head.weight.copy_(head.weight.roll(1, 0))
    head.bias.copy_(head.bias.roll(1, 0))
    return model


ATTACKS: dict[str, Attack] = {
    "NaN weights": nan_weights,
    "one infinite value": one_infinite_value,
    "random weights times 1e6": random_times_1e6,
    "weights times 1e6": times_1e6,
    "sign-flipped": sign_flipped,
    "one poisoned layer": poisoned_layer,
    "one layer of plain noise": noisy_layer,
    "wrong output permutation": wrong_output_permutation,
}
TRAINED = "label-flipped training"  # members that were trained on wrong labels from the start


@torch.no_grad()
def attacked(
    members: list[nn.Module], attack: str, bad: int, folder: Path, network: str
) -> list[nn.Module]:
    """Members of which the first `bad` are bad; the others are the honest ones themselves."""
    result = list(members)
    for k in range(bad):
        if attack == TRAINED:
            result[k] = load(folder, network, f"-flipped-seed{k}")
        else:
            result[k] = ATTACKS[attack](copy.deepcopy(members[k]), torch.Generator().manual_seed(k))
    return result
