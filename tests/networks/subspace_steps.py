"""Steps of training for small subspaces."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from small_networks import loader
from torch import nn

import onefold

DATA = loader(64)


def steps(
    space: onefold.Subspace, optimiser: torch.optim.Optimizer, count: int, skip: int = 0
) -> None:
    """Train on batches `skip` to `skip + count`."""
    for x, y in (DATA * 10)[skip : skip + count]:
        optimiser.zero_grad()
        (F.cross_entropy(space(x), y) + space.diversity_penalty()).backward()
        optimiser.step()


def sgd(space: nn.Module) -> torch.optim.SGD:
    """Momentum, so that the optimiser has a state."""
    return torch.optim.SGD(space.parameters(), 0.05, momentum=0.9)
