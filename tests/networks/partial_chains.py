"""Chains of layers that move everywhere, and rows of inputs for them."""

from __future__ import annotations

from typing import Any

import torch
from small_networks import members
from torch import Tensor, nn


def doubled(kind: type[nn.Module], count: int = 3) -> list[nn.Module]:
    return [model.double() for model in members(kind, count)]


def rows(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)


def chain(width: int = 8, classes: int = 4) -> nn.Module:
    """Everything a module, so that features are read behind nonlinearities and pools."""
    convolutions = [
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, width, 3, padding=1),
        nn.ReLU(inplace=True),
    ]
    return nn.Sequential(
        *convolutions,
        nn.AvgPool2d(4),
        nn.Flatten(),
        nn.Linear(4 * width, 12),
        nn.ReLU(),
        nn.Linear(12, classes),
    )


def chains(count: int = 2, **options: Any) -> list[nn.Module]:
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        made.append(chain(**options).double().eval())
    return made
