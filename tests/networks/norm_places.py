"""Networks that run a norm at several places, with statistics that are settled."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onefold.batchnorm import reestimate


def images(count: int = 96, seed: int = 0) -> Tensor:
    """Pictures (count, 3, 8, 8) that differ in brightness."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 8, 8, generator=generator) + torch.randn(
        count, 1, 1, 1, generator=generator
    )


class Siamese(nn.Module):
    """Two branches of different scale, one norm."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 6, 1)
        self.norm, self.head = nn.BatchNorm2d(6), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        both = [F.relu(self.norm(y)).mean((2, 3)) for y in (self.left(x), 4 * self.right(x) + 2)]
        return self.head(torch.cat(both, 1))


def settled(kind: type[nn.Module], data: list[Tensor]) -> nn.Module:
    """A network of random scales whose statistics are those that training on `data` would have
    left.
    """
    torch.manual_seed(1)
    network = kind()
    for norm in (m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)):
        with torch.no_grad():
            norm.weight.copy_(torch.randn(norm.num_features))
            norm.bias.copy_(torch.randn(norm.num_features))
    reestimate(network, data)
    return network.eval()


def off(network: nn.Module, other: nn.Module, data: list[Tensor]) -> float:
    """The largest difference of outputs, in shares of the largest output."""
    with torch.no_grad():
        return max(
            float((network(x) - other(x)).abs().max() / network(x).abs().max()) for x in data
        )
