"""Scores of numbers, logits and labels that are at hand, by any task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from onefold.measure import Scores, evaluate
from onefold.report import Candidate
from onefold.report.comparison import Kind


def scored(outputs: Tensor, labels: Tensor, task: str, **asked: Any) -> Scores:
    """The scores of outputs as they are."""
    return evaluate(nn.Identity(), [(outputs.float(), labels)], task=task, **asked)


def regressed(errors: Sequence[float], **asked: Any) -> Scores:
    """The scores of a regressor that is off by these errors, on labels 0, 1, 2 and so on."""
    labels = torch.arange(len(errors), dtype=torch.float64).unsqueeze(1)
    return scored(
        labels + torch.tensor(errors).double().unsqueeze(1), labels, "regression", **asked
    )


def row(name: str, scores: Scores, kind: Kind = "other", cost: float = 1.0) -> Candidate:
    """A candidate of those scores."""
    return Candidate(name, scores, 10, cost, kind=kind)


def alternating(size: float, count: int = 40, spread: float = 0.005) -> list[float]:
    """Errors of that size and both signs, not all equal, so that their spread is known."""
    return [(size + spread * (-1) ** (k // 2)) * (-1) ** k for k in range(count)]
