"""Networks whose norms have scales of both signs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from small_networks import Residual, examples
from torch import Tensor, nn

from onefold.batchnorm import norms_of, reestimate


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
