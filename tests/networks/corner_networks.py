"""Networks on which the units of a fold stand elsewhere than in the alignment."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def off(ours: nn.Module, theirs: nn.Module, x: Tensor) -> float:
    """The largest difference of two networks' outputs."""
    with torch.no_grad():
        y = ours(x)
        return float((theirs(x) - y).abs().max() / y.abs().max())


class Tiled(nn.Module):
    """A vector for each example, made as often as there are examples."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.a, self.head = (
            nn.Parameter(torch.randn(1, 1, 5)),
            nn.Linear(5, 6),
            nn.Linear(6, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.a(torch.cat([self.token.expand(x.shape[0], 1, 5), x], 1)).relu())


class Counted(nn.Module):
    """Positions counted from the inputs' shape."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.full((x.shape[0], 1, 1), 0.5)
        return self.head(self.b(self.a(x).relu() * weight).relu())
