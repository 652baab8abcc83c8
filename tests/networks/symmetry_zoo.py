"""Networks of every common architecture, small, with an input each: written out here in plain
torch.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def tokens(vocabulary: int = 20, length: int = 7, batch: int = 2) -> Tensor:
    return torch.randint(vocabulary, (batch, length), generator=torch.Generator().manual_seed(0))


class Recurrent(nn.Module):
    """An embedding, a recurrent net of one kind, and a head on its last output, its last states, or
    both.
    """

    def __init__(self, kind: str, reads: str = "output", **options: Any) -> None:
        super().__init__()
        self.table = nn.Embedding(30, 8)
        self.net = getattr(nn, kind)(8, 16, batch_first=True, **options)
        directions = 2 if options.get("bidirectional") else 1
        width = options.get("proj_size") or 16
        self.head = nn.Linear(width * directions if reads == "output" else width, 3)
        self.reads = reads

    def forward(self, x: Tensor) -> Tensor:
        out, state = self.net(self.table(x))
        if self.reads == "output":
            return self.head(out[:, -1])
        state = state[0] if isinstance(state, tuple) else state
        return self.head(state[-1] if self.reads == "state" else state.transpose(0, 1).mean(1))


class Stacked(nn.Module):
    """Two layers in both directions, then a second net on top that is read by its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(30, 8)
        self.first = nn.LSTM(8, 10, 2, batch_first=True, bidirectional=True)
        self.second = nn.GRU(20, 12, batch_first=True)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(self.table(x))[0])[1][-1])


class Cells(nn.Module):
    """A loop over single cells, with a learned first state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru, self.plain = nn.LSTMCell(6, 8), nn.GRUCell(8, 7), nn.RNNCell(7, 9)
        self.start = nn.Parameter(torch.randn(1, 7))
        self.head = nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        h, c = x.new_zeros(batch, 8), x.new_zeros(batch, 8)
        g, p = self.start.expand(batch, 7), x.new_zeros(batch, 9)
        for step in range(x.shape[1]):
            h, c = self.lstm(x[:, step], (h, c))
            g = self.gru(h, g)
            p = self.plain(g, p)
        return self.head(p)


class Encoder(nn.Module):
    """torch's own transformer encoder, and a multi-head attention with a mask on top."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.into = nn.Linear(5, 12)
        layer = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True, **options)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.top = nn.MultiheadAttention(12, 4, batch_first=True)
        self.head = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(self.into(x))
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return self.head(self.top(y, y, y, attn_mask=mask, need_weights=False)[0])


class Translator(nn.Module):
    """torch's own encoder and decoder with cross-attention; two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(20, 12), nn.Embedding(20, 12)
        self.body = nn.Transformer(12, 3, 1, 1, 20, batch_first=True, norm_first=True)
        self.head = nn.Linear(12, 20)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.head(self.body(self.source(source), self.target(target)))


class Block(nn.Module):
    """A decoder block: fused q, k, v, causal attention, and an MLP."""

    def __init__(self, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.fused, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (
            y.view(batch, length, self.heads, -1).transpose(1, 2)
            for y in self.fused(self.norm1(x)).split(width, -1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Decoder(nn.Module):
    """A small language model whose head is the table of its tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(20, 16), nn.Embedding(12, 16)
        self.blocks = nn.Sequential(Block(), Block())
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 20, bias=False)
        self.head.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        y = self.table(x) + self.places(torch.arange(x.shape[1]))
        return self.head(self.norm(self.blocks(y)))


class Grouped(nn.Module):
    """Grouped-query attention with rotary positions, a gated MLP and RMS norms."""

    def __init__(self, gqa: bool = True, affine: bool = True) -> None:
        super().__init__()
        width, self.heads, self.groups, self.gqa = 24, 6, 2, gqa
        self.table = nn.Embedding(20, width)
        self.q, self.k, self.v = (
            nn.Linear(width, 24, bias=False),
            nn.Linear(width, 8, bias=False),
            nn.Linear(width, 8, bias=False),
        )
        self.out = nn.Linear(24, width, bias=False)
        self.gate, self.up, self.down = (
            nn.Linear(width, 30, bias=False),
            nn.Linear(width, 30, bias=False),
            nn.Linear(30, width, bias=False),
        )
        self.norms = nn.ModuleList(nn.RMSNorm(width, elementwise_affine=affine) for _ in range(3))
        self.head = nn.Linear(width, 20, bias=False)
        angles = torch.outer(torch.arange(12.0), torch.tensor([1.0, 0.1]))
        self.register_buffer("angles", torch.cat([angles, angles], -1), persistent=False)

    def _rotate(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        angles = self.angles[: x.shape[-2]]
        return x * angles.cos() + torch.cat([-second, first], -1) * angles.sin()

    def forward(self, x: Tensor) -> Tensor:
        x = self.table(x)
        y = self.norms[0](x)
        batch, length, _ = y.shape
        q = self._rotate(self.q(y).view(batch, length, self.heads, -1).transpose(1, 2))
        k = self._rotate(self.k(y).view(batch, length, self.groups, -1).transpose(1, 2))
        v = self.v(y).view(batch, length, self.groups, -1).transpose(1, 2)
        if not self.gqa:
            k, v = (z.repeat_interleave(self.heads // self.groups, 1) for z in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.gqa)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, -1))
        y = self.norms[1](x)
        x = x + self.down(F.silu(self.gate(y)) * self.up(y))
        return self.head(self.norms[2](x))


class EinsumAttention(nn.Module):
    """Attention by einsum, with one weight of three axes for each of q, k, v; a bilinear form of
    two inputs on top.
    """

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Parameter(torch.randn(6, 3, 4)) for _ in range(3))
        self.out = nn.Parameter(torch.randn(3, 4, 8))
        self.pair = nn.Bilinear(8, 6, 5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (torch.einsum("b l c, c h d -> b h l d", x, w) for w in (self.q, self.k, self.v))
        weights = torch.einsum("...ld,...sd->...ls", q, k).div(2).softmax(-1)
        y = torch.einsum("bhls,bhsd->blhd", weights, v)
        return self.pair(torch.einsum("blhd,hdo->blo", y, self.out).tanh(), x)


class MatmulAttention(nn.Module):
    """Attention by matrix products, scores with a learned bias, packed batch axis (bmm), and a
    gated output (glu).
    """

    def __init__(self) -> None:
        super().__init__()
        self.fused, self.out, self.bias = (
            nn.Linear(6, 36),
            nn.Linear(12, 16),
            nn.Parameter(torch.randn(3, 5, 5)),
        )
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.fused(x).view(batch, length, 3, 3, 4).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / 2 + self.bias
        y = torch.bmm(scores.softmax(-1).flatten(0, 1), v.flatten(0, 1)).view(batch, 3, length, 4)
        return self.head(F.glu(self.out(y.transpose(1, 2).flatten(2))))


class WaveNet(nn.Module):
    """Dilated causal convolutions in one dimension, gated by tanh and sigmoid, with residual and
    skip connections.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(2, 12, 1)
        self.filters = nn.ModuleList(nn.Conv1d(12, 10, 2, dilation=2**k) for k in range(3))
        self.gates = nn.ModuleList(nn.Conv1d(12, 10, 2, dilation=2**k) for k in range(3))
        self.back = nn.ModuleList(nn.Conv1d(10, 12, 1) for _ in range(3))
        self.skip = nn.ModuleList(nn.Conv1d(10, 14, 1) for _ in range(3))
        self.head = nn.Conv1d(14, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, total = self.stem(x), 0
        for k in range(3):
            padded = F.pad(x, (2**k, 0))
            y = torch.tanh(self.filters[k](padded)) * torch.sigmoid(self.gates[k](padded))
            x, total = x + self.back[k](y), total + self.skip[k](y)
        return self.head(F.relu(total))


class Siamese(nn.Module):
    """One body for two images, and the cosine and the distance of what it makes of them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3),
            nn.PReLU(8),
            nn.Conv2d(8, 12, 3),
            nn.ELU(),
            nn.Flatten(),
            nn.Linear(12 * 16, 16),
        )
        self.head = nn.Linear(16, 2)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.body(a), self.body(b)
        return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).t(), self.head((a - b).abs())


class Contrastive(nn.Module):
    """Two towers that meet in a common space of which only inner products are seen: any rotation of
    it will do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 8, bias=False)
        )
        self.table, self.text = nn.Embedding(20, 10), nn.Linear(10, 8, bias=False)
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        a, b = self.image(image), self.text(self.table(text).mean(1))
        a, b = a / a.norm(dim=-1, keepdim=True), b / b.norm(dim=-1, keepdim=True)
        return self.scale.exp() * a @ b.t()


class Experts(nn.Module):
    """A soft mixture of experts whose weights are stacked, and an autoregressive mean over the
    positions before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.into, self.gate = nn.Linear(6, 10), nn.Linear(10, 4)
        self.up, self.down = (
            nn.Parameter(torch.randn(4, 10, 12)),
            nn.Parameter(torch.randn(4, 12, 10)),
        )
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        weights = self.gate(x).softmax(-1)
        hidden = torch.einsum("blc,ech->bleh", x, self.up).relu()
        x = x + torch.einsum("bleh,ehc,ble->blc", hidden, self.down, weights)
        return self.head(x.cumsum(1) / math.sqrt(x.shape[1]))


class LinearAutoencoder(nn.Module):
    """Nothing but linear layers: every invertible map of a hidden layer keeps the function."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(6, 8), nn.Linear(8, 4), nn.Linear(4, 8), nn.Linear(8, 6)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)
