"""A trace that is over leaves nothing behind in torch."""

from __future__ import annotations

import gc
import linecache
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.fx import graph_module
from torch.fx.experimental.symbolic_shapes import ShapeEnv

import onefold
from onefold.errors import TraceError
from onefold.symmetry import find_symmetries, verify_symmetries
from onefold.symmetry.leftovers import forgotten


class Untraceable(nn.Module):
    """A network whose way depends on its numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y if y.sum().item() > 0 else -y


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))


def left() -> tuple[int, int, int]:
    """How many environments, sources and kept texts there are."""
    gc.collect()
    environments = sum(isinstance(one, ShapeEnv) for one in gc.get_objects())
    sources = sum(name.startswith("<eval_with_key>") for name in linecache.cache)
    return environments, sources, len(graph_module._loader.eval_cache)


INPUTS = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))


def untraceable() -> None:
    with pytest.raises(TraceError):
        find_symmetries(Untraceable(), INPUTS)


def proved() -> None:
    assert verify_symmetries(find_symmetries(network(), INPUTS), network(), INPUTS).passed


def merged(**settings: Any) -> None:
    onefold.merge([network(0), network(1)], [INPUTS], **settings)


CALLS = {
    "find and verify": proved,
    "a network that cannot be traced": untraceable,
    "merge": lambda: merged(align="permutation"),
    "least squares": lambda: merged(fold="least_squares"),
    "another number of examples": lambda: find_symmetries(network(), INPUTS[:1]),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_trace_leaves_nothing_behind(call: str) -> None:
    CALLS[call]()
    before = left()
    for _ in range(3):
        CALLS[call]()
    assert all(now <= then for now, then in zip(left(), before, strict=True))


def test_what_others_generated_stays() -> None:
    theirs = fx.symbolic_trace(network())
    name = theirs.forward.__func__.__code__.co_filename
    with forgotten():
        ours = fx.symbolic_trace(network())
    assert linecache.getlines(name)
    assert not linecache.getlines(ours.forward.__func__.__code__.co_filename)
    assert torch.equal(theirs(INPUTS), ours(INPUTS))
