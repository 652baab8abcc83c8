"""Networks of several outputs, and of an output for each pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Segmenter(nn.Module):
    """Classes on axis 1, or last if `last`."""

    def __init__(self, classes: int = 4, last: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, classes, 1)
        )
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y.permute(0, 2, 3, 1) if self.last else y


def made(make: Callable[[], nn.Module], count: int = 2) -> list[Any]:
    found = []
    for seed in range(count):
        torch.manual_seed(seed)
        found.append(make().eval())
    return found


def pictures(labels: bool = True, height: int = 6, classes: int = 4) -> list[Any]:
    generator = torch.Generator().manual_seed(4)
    x = [torch.randn(8, 3, height, 7, generator=generator) for _ in range(3)]
    y = [torch.randint(classes, (8, height, 7), generator=generator) for _ in x]
    return list(zip(x, y, strict=True)) if labels else x


def plain(
    network: nn.Module, data: list[tuple[Tensor, Tensor]], pick: Callable[[Any], Tensor]
) -> float:
    with torch.no_grad():
        return float(
            torch.cat([(pick(network(x)).argmax(1) == y).flatten() for x, y in data])
            .double()
            .mean()
        )
