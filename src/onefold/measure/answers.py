"""The answers of a network, example by example, by which differences are paired (`paired.py`)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of one network in the order of the data: 7 to 9 bytes for each example.

    Attributes:
        hits: (n,) bool, whether the answer was right.
        losses: (n,) float32, the negative log-likelihood in nats; infinite if the outputs are not
            finite.
        labels: a fingerprint of the n labels in their order.
        given: (n,) int16 or int32, the class that was answered, -1 for none; None: not kept.
    """

    hits: Tensor
    losses: Tensor
    labels: str
    given: Tensor | None = None

    def __repr__(self) -> str:
        return f"Answers(n={len(self.hits)}, right={int(self.hits.sum())})"


class AnswersKept:
    """Collects `Answers` batch by batch. The cut of the examples into batches does not matter."""

    def __init__(self) -> None:
        self._hits: list[Tensor] = []
        self._losses: list[Tensor] = []
        self._given: list[Tensor] = []
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, hits: Tensor, losses: Tensor, labels: Tensor, given: Tensor) -> None:
        """Add hits (n,) bool, losses (n,) in nats, labels and given classes (n,) int64."""
        small = not len(given) or int(given.max()) <= torch.iinfo(torch.int16).max
        self._given.append(given.cpu().to(torch.int16 if small else torch.int32))
        self._hits.append(hits.cpu())
        self._losses.append(losses.cpu().float())
        self._digest.update(labels.cpu().long().contiguous().numpy().tobytes())

    def answers(self) -> Answers:
        """The answers that were added."""
        return Answers(
            torch.cat(self._hits),
            torch.cat(self._losses),
            self._digest.hexdigest(),
            torch.cat(self._given),
        )


def agreement_of(first: Answers | None, second: Answers | None) -> float | None:
    """The share of the examples that both answer with the same class.

    It is None if the answers were not kept, or are of other examples.
    """
    if first is None or second is None or first.given is None or second.given is None:
        return None
    if first.labels != second.labels or len(first.given) != len(second.given):
        return None
    same = (first.given == second.given) & (first.given >= 0)
    return float(same.double().mean())
