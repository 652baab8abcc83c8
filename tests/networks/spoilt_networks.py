"""Networks that were spoilt by noise, and comparisons of states."""

from __future__ import annotations

import copy

import torch
from torch import nn


def equal(a: nn.Module, b: nn.Module) -> bool:
    """Whether two networks have the same state."""
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def near(model: nn.Module, seed: int, by: float = 0.1) -> nn.Module:
    """A copy with noise in its weights: a share `by` of the mean weight of each tensor."""
    twin = copy.deepcopy(model)
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in twin.parameters():
            p += by * p.abs().mean() * torch.randn_like(p)
    return twin


def spoilt(model: nn.Module) -> nn.Module:
    """A copy that answers at random."""
    twin = copy.deepcopy(model)
    torch.manual_seed(3)
    for p in twin.parameters():
        nn.init.normal_(p, std=0.3)
    return twin
