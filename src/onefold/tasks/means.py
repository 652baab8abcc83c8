"""Means of several networks' outputs, by the names that arguments give them.

"probabilities": the mean of the members' probabilities (Lakshminarayanan et al. 2017, arXiv
1612.01474). "logits": the mean of their logits. "outputs": the mean of whatever they return.

    classes       log (1/K) sum_k softmax(f_k)
    yes or no     log p - log (1 - p),    p = (1/K) sum_k sigmoid(f_k)

A mean of probabilities is returned in the form of the outputs: as log-probabilities of classes, and
as the logit of a probability.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

EnsembleMean = Literal["probabilities", "logits", "outputs"]
EnsembleName = Literal["probabilities", "logits", "outputs", "classes"]

ENSEMBLE_MEANS: tuple[EnsembleMean, ...] = ("probabilities", "logits", "outputs")
ENSEMBLES: tuple[EnsembleName, ...] = (*ENSEMBLE_MEANS, "classes")


def plain_mean(outputs: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
    """The weighted mean of outputs of one shape; equal weights for None."""
    stacked = torch.stack(list(outputs))
    if weights is None:
        return stacked.mean(0)
    shares = torch.tensor(list(weights), dtype=stacked.dtype, device=stacked.device)
    mean: Tensor = torch.tensordot(shares / shares.sum(), stacked, dims=1)
    return mean


def mean_of_classes(outputs: Sequence[Tensor]) -> Tensor:
    """The log-probabilities (..., C) of the mean of softmax over logits (..., C)."""
    logs = torch.stack([logits.log_softmax(-1) for logits in outputs])
    return torch.logsumexp(logs, 0) - math.log(len(outputs))


def mean_of_binary(outputs: Sequence[Tensor]) -> Tensor:
    """The logits of the mean of sigmoid over logits of one shape."""
    stacked = torch.stack(list(outputs))
    yes = torch.logsumexp(functional.logsigmoid(stacked), 0)
    no = torch.logsumexp(functional.logsigmoid(-stacked), 0)
    return yes - no


__all__ = [
    "ENSEMBLES",
    "ENSEMBLE_MEANS",
    "EnsembleMean",
    "EnsembleName",
    "mean_of_binary",
    "mean_of_classes",
    "plain_mean",
]
