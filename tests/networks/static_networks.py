"""Networks that a trace or a replay may trip over."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Static(nn.Module):
    """Its batch size is a constant of the graph, and with `branches` the operators depend on it."""

    def __init__(self, branches: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.branches = nn.Linear(4, 6), nn.Linear(6, 2), branches

    def forward(self, x: Tensor) -> Tensor:
        size = int(x.shape[0])
        x = self.a(x)
        if self.branches and size > 5:
            x = x.relu()
        return self.b(x.reshape(size, 6) + torch.ones(size, 6, dtype=x.dtype))
