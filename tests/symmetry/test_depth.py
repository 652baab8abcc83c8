"""The work of finding symmetries grows with the depth of a network, and no faster."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from onefold.symmetry import solve
from onefold.symmetry.tracing import trace


class Residual(nn.Module):
    """Blocks of two layers, each added to the stream."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.first = nn.ModuleList(nn.Linear(4, 3) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Linear(3, 4) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        for first, second in zip(self.first, self.second, strict=True):
            x = x + second(first(x).relu())
        return x


def linear(depth: int) -> tuple[nn.Module, Tensor]:
    layers = [layer for _ in range(depth) for layer in (nn.Linear(4, 4), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(4, 2)), torch.randn(2, 4)


def convolutions(depth: int) -> tuple[nn.Module, Tensor]:
    layers = [
        layer for _ in range(depth) for layer in (nn.Conv1d(3, 3, 1), nn.BatchNorm1d(3), nn.ReLU())
    ]
    return nn.Sequential(*layers).eval(), torch.randn(2, 3, 5)


def residual(depth: int) -> tuple[nn.Module, Tensor]:
    return Residual(depth), torch.randn(2, 4)


def calls(function: Callable[[], object]) -> int:
    """How many Python functions of onefold are called."""
    count = 0

    def seen(frame, event, argument):  # type: ignore[no-untyped-def]
        nonlocal count
        count += event == "call" and "onefold" in frame.f_code.co_filename

    sys.setprofile(seen)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("build", [linear, convolutions, residual])
def test_twice_the_depth_is_twice_the_work(
    build: Callable[[int], tuple[nn.Module, Tensor]],
) -> None:
    work = []
    for depth in (8, 16, 32):
        network, x = build(depth)
        traced = trace(network, (x,))
        work.append(calls(lambda traced=traced: solve(traced)))  # type: ignore[misc]
    assert work[0] > 100
    assert work[2] - work[1] < 2.2 * (work[1] - work[0])
