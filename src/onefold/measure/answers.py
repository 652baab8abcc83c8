"""The answers of a network, example by example, by which differences are paired (`paired.py`)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of one network in the order of the data: 5 bytes for each example.

    Attributes:
        hits: (n,) bool, whether the answer was right.
        losses: (n,) float32, the negative log-likelihood in nats; infinite if the outputs are not
            finite.
        labels: a fingerprint of the n labels in their order.
    """

    hits: Tensor
    losses: Tensor
    labels: str

    def __repr__(self) -> str:
        return f"Answers(n={len(self.hits)}, right={int(self.hits.sum())})"


class AnswersKept:
    """Collects `Answers` batch by batch. The cut of the examples into batches does not matter."""

    def __init__(self) -> None:
        self._hits: list[Tensor] = []
        self._losses: list[Tensor] = []
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, hits: Tensor, losses: Tensor, labels: Tensor) -> None:
        """Add hits (n,) bool, losses (n,) in nats and labels (n,) int64."""
        self._hits.append(hits.cpu())
        self._losses.append(losses.cpu().float())
        self._digest.update(labels.cpu().long().contiguous().numpy().tobytes())

    def answers(self) -> Answers:
        """The answers that were added."""
        return Answers(torch.cat(self._hits), torch.cat(self._losses), self._digest.hexdigest())
