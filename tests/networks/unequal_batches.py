"""Networks of series and of texts, and batches of unequal sizes and lengths for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

SIZES = ((16, 9), (16, 5), (16, 12), (7, 7), (16, 3), (5, 9), (12, 1), (16, 10))
EXAMPLES = sum(n for n, _ in SIZES)


class Series(nn.Module):
    """Series (n, time, 4) to three classes, by an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.LSTM(4, 8, batch_first=True)
        self.hidden, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(self.body(x)[0].mean(1))))


class Text(nn.Module):
    """Token ids (n, length) and their mask to three classes, by a transformer of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.query, self.key, self.value, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.up, self.down, self.head = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.embed(input_ids)
        n, length, _ = x.shape
        hidden = self.norm1(x)
        query, key, value = (
            layer(hidden).view(n, length, 2, 4).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        seen = attention_mask[:, None, None, :].bool()
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        x = x + self.out(found.transpose(1, 2).reshape(n, length, 8))
        x = x + self.down(functional.gelu(self.up(self.norm2(x))))
        weights = attention_mask[..., None].to(x.dtype)
        return self.head((x * weights).sum(1) / weights.sum(1))


def series() -> list[Any]:
    """Batches (series, labels)."""
    draws, found = torch.Generator().manual_seed(1), []
    for n, time in SIZES:
        x = torch.randn(n, time, 4, generator=draws)
        first = x[:, 0, 0]
        found.append((x, (first > -0.4).long() + (first > 0.4).long()))
    return found


def texts() -> list[Any]:
    """Batches of dicts; each text has a length of its own, and a batch that of its longest."""
    draws, found = torch.Generator().manual_seed(2), []
    for n, length in SIZES:
        ids = torch.randint(1, 20, (n, length), generator=draws)
        own = torch.randint(1, length + 1, (n, 1), generator=draws)
        own[0] = length
        mask = (torch.arange(length) < own).long()
        found.append({"input_ids": ids * mask, "attention_mask": mask, "labels": ids[:, 0] % 3})
    return found


def singly(data: list[Any]) -> list[Any]:
    """Every example in a batch of its own, texts without what they were padded by."""
    found: list[Any] = []
    for item in data:
        if isinstance(item, tuple):
            x, y = item
            found += [(x[k : k + 1], y[k : k + 1]) for k in range(len(y))]
            continue
        for k, own in enumerate(item["attention_mask"].sum(1).tolist()):
            cut = {key: item[key][k : k + 1, :own] for key in ("input_ids", "attention_mask")}
            found.append({**cut, "labels": item["labels"][k : k + 1]})
    return found


def called(network: nn.Module, item: Any) -> tuple[Tensor, Tensor]:
    """The outputs on a batch, and its labels."""
    if isinstance(item, tuple):
        return network(item[0]), item[1]
    return network(**{key: item[key] for key in item if key != "labels"}), item["labels"]


def learn(network: nn.Module, data: list[Any], passes: int = 40) -> nn.Module:
    """The network, trained in place."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(passes):
        for item in data:
            outputs, labels = called(network, item)
            optimizer.zero_grad()
            functional.cross_entropy(outputs, labels).backward()
            optimizer.step()
    return network.eval()


def members(build: type[nn.Module], data: list[Any], count: int = 2) -> list[nn.Module]:
    """Trained networks from weights of their own."""
    found = []
    for seed in range(count):
        torch.manual_seed(seed)
        found.append(learn(build(), data))
    return found
