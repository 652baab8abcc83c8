"""Small networks that take inputs of several sizes, and inputs for them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Recurrent(nn.Module):
    """Series (n, time, 3) by a GRU, or by an LSTM in both directions."""

    def __init__(self, kind: str = "gru", both: bool = False) -> None:
        super().__init__()
        make = nn.GRU if kind == "gru" else nn.LSTM
        self.body = make(3, 5, batch_first=True, bidirectional=both)
        self.head = nn.Linear(10 if both else 5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)[0].mean(1))


class Table(nn.Module):
    """Tokens (n, time) with a table of 12 positions, of which as many are taken as there are
    tokens.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(20, 6)
        self.places = nn.Parameter(torch.randn(12, 6))
        self.norm, self.up, self.head = nn.LayerNorm(6), nn.Linear(6, 9), nn.Linear(9, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.norm(self.tokens(ids) + self.places[: ids.shape[1]])
        return self.head(F.gelu(self.up(x)).sum(1) / ids.shape[1])


class Segmenter(nn.Module):
    """Images of any size to as many labels, over half the resolution; odd sizes are cropped."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.norm = nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.coarse, self.up = nn.Conv2d(5, 7, 3, 2, 1), nn.ConvTranspose2d(7, 5, 2, 2)
        self.head = nn.Conv2d(15, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = F.relu(self.norm(self.fine(x)))
        coarse = F.relu(self.coarse(fine))
        up = self.up(coarse)[:, :, : fine.shape[2], : fine.shape[3]]
        near = F.interpolate(self.up(coarse), size=fine.shape[-2:], mode="bilinear")
        return self.head(torch.cat([fine, up, near], 1))


class Pooled(nn.Module):
    """Images of any size to classes: adaptive pooling, and pooling by the size that there is."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 7, 3, 2, 1)
        self.head = nn.Linear(35, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.norm(self.first(x)))))
        whole = F.avg_pool2d(x, x.shape[-2:]).flatten(1)
        return self.head(torch.cat([F.adaptive_avg_pool2d(x, 2).flatten(1), whole], 1))


class Waves(nn.Module):
    """Series (n, 2, time) by convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(2, 6, 3, padding=1), nn.Conv1d(6, 7, 3, dilation=2)
        self.norm, self.head = nn.BatchNorm1d(6), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.gelu(self.second(F.gelu(self.norm(self.first(x))))).amax(-1))


class Patches(nn.Module):
    """A vision transformer of one block whose table of positions is resized to the image."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.cls = nn.Conv2d(2, 8, 4, 4), nn.Parameter(torch.randn(1, 1, 8))
        self.places = nn.Parameter(torch.randn(1, 8, 2, 2))
        self.block = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x)
        x = x + F.interpolate(self.places, size=x.shape[-2:], mode="bilinear")
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1)
        return self.head(self.block(x)[:, 0])


class Graph(nn.Module):
    """Nodes (nodes, 4) and their edges (nodes, nodes) to two numbers for each node."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 7), nn.Linear(7, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        return self.head(F.relu(edges @ self.second(F.relu(edges @ self.first(x)))))


class Deeper(nn.Module):
    """One more layer for each of three steps of time: other operators for other lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.head = (
            nn.Linear(3, 3),
            nn.BatchNorm1d(3),
            nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2)),
        )

    def forward(self, x: Tensor) -> Tensor:
        state = x[:, 0]
        for _ in range(x.shape[1]):
            state = torch.tanh(self.norm(self.layer(state)))
        return self.head(state)


def graphs(sizes: tuple[int, ...]) -> list[Any]:
    found = []
    for nodes in sizes:
        edges = (torch.rand(nodes, nodes) < 0.4).float() + torch.eye(nodes)
        found.append(((torch.randn(nodes, 4), edges / edges.sum(1, keepdim=True)), None))
    return found


def inputs(name: str) -> list[Any]:
    torch.manual_seed(5)
    images = [torch.randn(n, 2, h, w) for n, h, w in ((5, 8, 8), (5, 13, 10), (3, 9, 16))]
    return {
        "gru": [torch.randn(n, t, 3) for n, t in ((6, 4), (6, 6), (3, 3))],
        "lstm both ways": [torch.randn(n, t, 3) for n, t in ((6, 4), (6, 6), (3, 3))],
        "table": [torch.randint(20, (n, t)) for n, t in ((6, 8), (6, 12), (3, 5))],
        "full table first": [torch.randint(20, (n, t)) for n, t in ((6, 12), (6, 8), (3, 5))],
        "segmenter": images,
        "odd images first": [images[1], images[0], images[2]],
        "pooled": images,
        "waves": [torch.randn(n, 2, t) for n, t in ((6, 12), (6, 17), (3, 9))],
        "patches": [torch.randn(n, 2, h, w) for n, h, w in ((5, 8, 8), (5, 12, 16), (3, 16, 8))],
        "graph": graphs((9, 12, 7)),
    }[name]


NETWORKS: dict[str, Any] = {
    "gru": Recurrent,
    "lstm both ways": lambda: Recurrent("lstm", both=True),
    "table": Table,
    "full table first": Table,
    "segmenter": Segmenter,
    "odd images first": Segmenter,
    "pooled": Pooled,
    "waves": Waves,
    "patches": Patches,
    "graph": Graph,
}


def pair(build: Any) -> list[nn.Module]:
    """Two networks of other weights, with statistics of their own."""
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = build().eval()
        for name, buffer in network.named_buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5) if "var" in name else buffer.normal_(0, 0.3)
        found.append(network)
    return found
