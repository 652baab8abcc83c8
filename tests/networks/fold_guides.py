"""What the guides on folding say stands for the reader's own: networks that know different things,
and data. Each is made once for all tests of a process.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HELD = 1200  # digits from here on are for tests
WORDS, LENGTH, TOPICS = 120, 16, 4


def network() -> nn.Module:
    """A small classifier of digits."""
    layers = [nn.Conv2d(1, 24, 3, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(24, 32, 3, stride=2, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 16, 10)]
    return nn.Sequential(*layers)


@functools.cache
def digits() -> tuple[Tensor, Tensor]:
    """All images (1797, 1, 8, 8) and their labels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    return images, torch.tensor(found.target)


def fitted(model: nn.Module, x: Any, y: Tensor, epochs: int, lr: float) -> nn.Module:
    """Train by Adam. x: a tensor, or token ids that the network takes as `input_ids`."""
    optimiser = torch.optim.Adam(model.parameters(), lr)
    for _ in range(epochs):
        for index in torch.randperm(len(y)).split(32):
            words = x.dtype == torch.long
            out = model(input_ids=x[index]).logits if words else model(x[index])
            loss = F.cross_entropy(out, y[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()


@functools.cache
def halves() -> tuple[nn.Module, nn.Module]:
    """Two networks: each saw all images of five digits, and one in twelve of the others."""
    x, y = digits()
    found = []
    for seed in range(2):
        torch.manual_seed(seed)
        model, rare = network(), torch.rand(len(y)) < 1 / 12
        own = (y < 5) if seed == 0 else (y >= 5)
        seen = torch.nonzero((torch.arange(len(y)) < HELD) & (own | rare)).flatten()
        found.append(fitted(model, x[seen], y[seen], 8, 2e-3))
    return found[0], found[1]


def given() -> dict[str, Any]:
    """The names of the guides: models, images, test, x."""
    x, y = digits()
    return {
        "models": list(halves()),
        "network": network,
        "images": list(x[:HELD].split(100)),
        "test": [(x[HELD:], y[HELD:])],
    }


def sentences(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Token ids (count, LENGTH) and topics: each topic has words of its own, used now and then."""
    random = torch.Generator().manual_seed(seed)
    topics = torch.arange(count) % TOPICS
    ids = torch.randint(1, WORDS, (count, LENGTH), generator=random)
    own = 80 + 10 * topics[:, None] + torch.randint(0, 10, ids.shape, generator=random)
    return torch.where(torch.rand(ids.shape, generator=random) < 0.2, own, ids), topics
