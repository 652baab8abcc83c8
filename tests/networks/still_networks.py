"""Networks in which nothing, or little, can be aligned, and inputs for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Sorted(nn.Module):
    """Features that are put in order of size: which is which cannot be told."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).sort(-1).values)


class Partly(nn.Module):
    """A large table that moves, and features between layers of which only the first do."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(200, 32)
        self.layers = nn.ModuleList(
            [nn.Linear(32, 6), *(nn.Linear(6, 6) for _ in range(2)), nn.Linear(6, 3)]
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.table(x).mean(1)
        for layer in self.layers[:-1]:
            h = layer(h).cummax(-1).values
        return self.layers[-1](h)


def floats() -> list[Tensor]:
    return [torch.randn(32, 6, generator=torch.Generator().manual_seed(k)) for k in range(3)]


def words() -> list[Tensor]:
    return [
        torch.randint(200, (64, 5), generator=torch.Generator().manual_seed(k)) for k in range(3)
    ]


def pair(kind: Callable[[], nn.Module]) -> list[nn.Module]:
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        made.append(kind().eval())
    return made


class Neighbours(nn.Module):
    """Channels weighed by a convolution along themselves: they have an order then."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.weigh, self.b = (
            nn.Conv1d(6, 8, 1),
            nn.Conv1d(1, 1, 3, padding=1, bias=False),
            nn.Linear(8, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        return self.b(
            (
                h
                * torch.sigmoid(
                    self.weigh(h.mean(-1, keepdim=True).transpose(1, 2)).transpose(1, 2)
                )
            ).mean(-1)
        )


class Waves(nn.Module):
    """Features that a Fourier transform mixes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.fft.fft(self.a(x)).real)
