"""Bodies of random networks: tokens through steps drawn from a seed."""

from __future__ import annotations

import random
from typing import Any

import torch
import torch.nn.functional as F
from random_sequences import PARAMETRIZED, WIDTHS
from torch import Tensor, nn


class Tokens(nn.Module):
    """(batch, length) integers to (batch, length, width), through blocks of transformers and
    others.
    """

    VOCABULARY = 20

    def __init__(self, seed: int, several: bool) -> None:
        super().__init__()
        self.draw, self.several, self.names = random.Random(seed), several, []
        width = self.out = self.draw.choice((8, 12))
        self.table = nn.Embedding(self.VOCABULARY, width, padding_idx=self.draw.choice((None, 0)))
        self.places = nn.Parameter(torch.randn(16, width))
        self.register_buffer("order", torch.arange(16))
        self.blocks = nn.ModuleList()
        kinds = [name for name in dir(self) if name.startswith("block_")]
        for _ in range(1 + self.draw.randrange(3)):
            name = self.draw.choice(kinds)
            self.blocks.append(getattr(self, name)(width))
            self.names.append(name[6:])
        self.norm = nn.LayerNorm(width) if self.draw.random() < 0.7 else None
        self.tied = (
            self.draw.random() < 0.2
        )  # features are read through the table, as tied heads do
        self.out = self.VOCABULARY if self.tied else width

    def shape(self, other: bool) -> tuple[int, ...]:
        """Of one example."""
        return (9 if other else 6,)

    def forward(self, ids: Tensor) -> Tensor:
        y = self.table(ids) + self.places[self.order[: ids.shape[1]]]
        for block in self.blocks:
            y = block(y)
        if self.norm is not None:
            y = self.norm(y)
        return F.linear(y, self.table.weight) if self.tied else y

    def block_encoder(self, width: int) -> nn.Module:
        first, act = self.draw.random() < 0.5, self.draw.choice(["relu", "gelu"])
        return nn.TransformerEncoderLayer(
            width, 2, 12, 0.1, act, batch_first=True, norm_first=first
        )

    def block_attention(self, width: int) -> nn.Module:
        return Attended(
            width, self.draw.choice((1, 2, 4)), self.draw.random() < 0.5, self.draw.random() < 0.3
        )

    def block_gated(self, width: int) -> nn.Module:
        return Gated(width, self.draw.choice(WIDTHS))

    def block_recurrent(self, width: int) -> nn.Module:
        return Recurrent(width)

    def block_mixed(self, width: int) -> nn.Module:
        return Mixed(
            width, self.draw.choice(PARAMETRIZED[:2]) if self.draw.random() < 0.4 else None
        )


class Attended(nn.Module):
    """Attention of its own making: projections in one, or apart; rotary positions sometimes."""

    def __init__(self, width: int, heads: int, causal: bool, rotary: bool) -> None:
        super().__init__()
        self.heads, self.causal, self.rotary = heads, causal, rotary
        self.norm = nn.LayerNorm(width)
        self.project, self.back = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for y in self.project(self.norm(x)).chunk(3, -1)
        )
        if self.rotary:
            q, k = turned(q), turned(k)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return x + self.back(y.transpose(1, 2).flatten(2))


def turned(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    rates = 1 / 10 ** (torch.arange(half, device=x.device) / half)
    angles = (torch.arange(x.shape[-2], device=x.device)[:, None] * rates).to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], -1)


class Gated(nn.Module):
    """A gated layer behind an RMS norm, as language models of today have them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(width) + 0.5)
        self.gate, self.up = (
            nn.Linear(width, hidden, bias=False),
            nn.Linear(width, hidden, bias=False),
        )
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.scale
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Recurrent(nn.Module):
    """A recurrent layer and a way back to the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer, self.back = nn.GRU(width, 6, batch_first=True), nn.Linear(6, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.back(self.layer(x)[0])


class Mixed(nn.Module):
    """Convolutions over time with a batch norm between, perhaps parametrized."""

    def __init__(self, width: int, how: Any) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv1d(width, 8, 3, padding=1), nn.BatchNorm1d(8)
        self.second = how(nn.Conv1d(8, width, 1)) if how is not None else nn.Conv1d(8, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.norm(self.first(x.transpose(1, 2))))).transpose(1, 2)
