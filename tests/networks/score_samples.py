"""Random predictions and labels for tests of scores."""

from __future__ import annotations

import torch
from torch import Tensor


def sample(
    n: int = 500, classes: int = 7, seed: int = 0, scale: float = 2.0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    labels = torch.where(
        torch.rand(n, generator=generator) < 0.5,
        logits.argmax(-1),
        torch.randint(classes, (n,), generator=generator),
    )
    return logits, labels
