"""Outputs and labels that are at hand in float64, of every task, and their scores."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from onefold.measure import Scores, evaluate


class Known(nn.Module):
    """Puts out its inputs, which may be of float64."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x


def scores_of(outputs: Tensor, labels: Tensor, task: str, size: int = 0, **asked: Any) -> Scores:
    """The scores of outputs as they are, in batches of `size` examples; 0 for one batch."""
    size = size or len(labels)
    data = list(zip(outputs.double().split(size), labels.split(size), strict=True))
    return evaluate(Known(), data, task=task, **asked)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole(high: int, *shape: int, seed: int = 1) -> Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


MADE = {
    "classification": (noise(40, 3), whole(3, 40)),
    "binary": (noise(40, 1), whole(2, 40)),
    "multilabel": (noise(40, 3), whole(2, 40, 3)),
    "regression": (noise(40, 2), noise(40, 2, seed=2)),
    "segmentation": (noise(40, 3, 4, 4), whole(3, 40, 4, 4)),
    "token_classification": (noise(40, 5, 3), whole(3, 40, 5)),
    "language_modeling": (noise(40, 5, 6), whole(6, 40, 5)),
}
