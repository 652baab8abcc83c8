"""Costs are those that torch counts, at any widths."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from onefold.batches import Batch
from onefold.symmetry import solve, trace
from onefold.widths import resize
from onefold.widths.costs import costs_of, multiply_adds


class Residual(nn.Module):
    """A stream with blocks, a depthwise convolution and a linear head; one weight is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.up, self.deep = nn.Conv2d(6, 10, 1), nn.Conv2d(10, 10, 3, padding=1, groups=10)
        self.down, self.norm = nn.Conv2d(10, 6, 1), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for _ in range(2):
            x = x + self.norm(self.down(self.deep(self.up(x).relu()).relu()))
        return self.head(x.mean((2, 3)))


class Sequence(nn.Module):
    """An embedding, an LSTM and a head at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.lstm = nn.Embedding(20, 6), nn.LSTM(6, 9, batch_first=True)
        self.head = nn.Linear(9, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.words(x))[0])


@pytest.mark.parametrize("name", ["residual", "convolutions"])
def test_multiply_adds_of_any_width_are_those_that_torch_counts(name: str) -> None:
    model = {
        "residual": Residual,
        "convolutions": lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 5, 2, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(5 * 144, 7),
        ),
    }[name]().eval()
    batch = Batch((torch.randn(2, 3, 14, 14),) if name == "convolutions" else _images())
    traced = trace(model, batch.args, batch.kwargs)
    spec = solve(traced)
    costs = costs_of(traced, spec, batch)
    assert costs.other == 0.0
    assert costs.total("multiply-adds") == multiply_adds(model, batch)
    assert costs.total("parameters") == sum(p.numel() for p in model.parameters())
    assert costs.total("bytes") == 4 * costs.total("parameters")
    for number, group in enumerate(spec.groups):
        for width in (1, group.size - 1, group.size + 2):
            resized = resize(model, spec, {group.name: width}, example_inputs=batch.args[0])
            widths = {group.name: width}
            assert costs.total("multiply-adds", widths) == multiply_adds(resized, batch)
            assert costs.total("parameters", widths) == sum(p.numel() for p in resized.parameters())
            own = {other.name: other.size for other in spec.groups}
            saved = costs.saved("parameters", own, group.name, width)
            assert saved == costs.total("parameters") - costs.total("parameters", widths), number


def test_recurrent_weights_are_used_at_every_step() -> None:
    model, batch = Sequence().eval(), Batch((torch.randint(20, (4, 7)),))
    traced = trace(model, batch.args, batch.kwargs)
    costs = costs_of(traced, solve(traced))
    assert costs.total("multiply-adds") == 7 * (4 * 9 * (6 + 9) + 9 * 3)
    assert costs.total("parameters") == sum(p.numel() for p in model.parameters())


def test_what_is_no_layers_is_measured() -> None:
    class Scores(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into = nn.Linear(5, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.into(x)
            return (y @ y.transpose(1, 2)).softmax(-1) @ y

    model, batch = Scores().eval(), Batch((torch.randn(3, 6, 5),))
    traced = trace(model, batch.args, batch.kwargs)
    spec = solve(traced)
    assert costs_of(traced, spec).total("multiply-adds") == 6 * 5 * 8
    assert costs_of(traced, spec, batch).other == 2 * 6 * 6 * 8


def _images() -> tuple[torch.Tensor, ...]:
    return (torch.randn(2, 3, 7, 7),)
