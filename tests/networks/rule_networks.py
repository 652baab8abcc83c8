"""Networks around one call, for tests of operator rules."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Between(nn.Module):
    """Linear, a function of the features, linear."""

    def __init__(self, function: Callable[[Tensor], Tensor], size: int = 6) -> None:
        super().__init__()
        self.a, self.b, self.function = nn.Linear(4, 6), nn.Linear(size, 3), function

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.function(self.a(x)))


class WithWeight(nn.Module):
    """Linear, a function of features and one or two own parameters of their size, linear."""

    def __init__(self, function: Callable[..., Tensor], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.a, self.b, self.function = nn.Linear(4, 6), nn.Linear(6, 3), function
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(shape)) for shape in shapes)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.function(self.a(x), *self.weights))
