"""What the predictions of several classifiers tell of what they know; for tasks of classes alone.

The shares of classes that they predict, and how these differ, are those of
`ensemble/told_apart.py`. Rows are examples, or the positions of images and texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onefold.ensemble.told_apart import agreements


def class_shares(rows: Sequence[Tensor]) -> Tensor:
    """(K, C) float64: the mean probability of every class, of K networks' logits (n, C)."""
    return torch.stack([own.double().softmax(-1).mean(0) for own in rows])


def alone_and_sure(rows: Sequence[Tensor]) -> Tensor:
    """(K,) float64: how sure each network is where no other one answers as it does.

    That is the mean of its highest probability on these rows; NaN if there are none.
    """
    answers = torch.stack([own.argmax(-1) for own in rows])
    alone = (answers.unsqueeze(0) == answers.unsqueeze(1)).sum(0) == 1
    highest = torch.stack([own.double().softmax(-1).amax(-1) for own in rows])
    return (highest * alone).sum(-1) / alone.sum(-1)


__all__ = ["agreements", "alone_and_sure", "class_shares"]
