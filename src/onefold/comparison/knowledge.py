"""What the predictions of several classifiers tell of what they know, without labels.

The shares of classes that they predict, and how these differ, are those of
`ensemble/told_apart.py`. The ensemble is the mean of the probabilities, q(x);

    off_k = mean_x KL(q(x) || p_k(x))

is how far a member is from it, in nats. Of outputs that are no classes the ensemble is the mean,
and off_k the mean square of the deviation from it over the variance of the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from onefold.comparison.predictions import Predictions
from onefold.ensemble.told_apart import agreements, variations

TINY = 1e-30


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What the outputs of K networks on the same n examples tell.

    All tensors are float64 on the CPU.

    Attributes:
        examples: n.
        shares: (K, C) the mean probability of every class; None if the outputs are no classes.
        agreement: (K, K) the shares of rows with equal predicted classes; None as above.
        with_ensemble: (K,) the shares of rows on which a member predicts the ensemble's class; None
            as above.
        sure: (K,) a member's mean highest probability on rows where no other member predicts its
            class; NaN if there are none; None as above.
        off: (K,) how far every member is from the ensemble (see above).
    """

    examples: int
    off: Tensor
    shares: Tensor | None = None
    agreement: Tensor | None = None
    with_ensemble: Tensor | None = None
    sure: Tensor | None = None

    @property
    def apart(self) -> float | None:
        """The largest total variation of two members' shares, from 0 to 1; None without classes."""
        if self.shares is None:
            return None
        return float(variations(self.shares).max())

    @property
    def nearest(self) -> int:
        """The member that agrees most with the ensemble, on a tie the one that is less far off."""
        agree = torch.zeros_like(self.off) if self.with_ensemble is None else self.with_ensemble
        return min(range(len(self.off)), key=lambda k: (-float(agree[k]), float(self.off[k])))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; NaN becomes null."""
        tables = ("shares", "agreement", "with_ensemble", "sure", "off")
        found = {name: getattr(self, name) for name in tables}
        return {
            "examples": self.examples,
            "apart": self.apart,
            **{name: None if table is None else _plain(table) for name, table in found.items()},
        }


def knowledge_of(predictions: Predictions, members: int) -> Knowledge:
    """What the first `members` networks' predictions tell.

    Args:
        predictions: finite ones.
        members: K.
    """
    rows = [own.double() for own in predictions.rows[:members]]
    if not predictions.classes:
        off = torch.stack([departure(own, rows) for own in rows])
        return Knowledge(predictions.examples, off)
    probabilities = [own.softmax(-1) for own in rows]
    ensemble = sum(probabilities[1:], start=probabilities[0]) / len(rows)
    answers = torch.stack([own.argmax(-1) for own in probabilities])
    alone = (answers.unsqueeze(0) == answers.unsqueeze(1)).sum(0) == 1
    highest = torch.stack([own.amax(-1) for own in probabilities])
    return Knowledge(
        predictions.examples,
        torch.stack([divergence(ensemble, own) for own in rows]),
        torch.stack([own.mean(0) for own in probabilities]),
        agreements(answers),
        (answers == ensemble.argmax(-1)).double().mean(-1),
        (highest * alone).sum(-1) / alone.sum(-1),
    )


def off_ensemble(predictions: Predictions, members: int, number: int) -> float:
    """How far network `number` is from the ensemble of the first `members` (see above)."""
    rows = [own.double() for own in predictions.rows[:members]]
    own = predictions.rows[number].double()
    if not predictions.classes:
        return float(departure(own, rows))
    ensemble = torch.stack([row.softmax(-1) for row in rows]).mean(0)
    return float(divergence(ensemble, own))


def divergence(ensemble: Tensor, logits: Tensor) -> Tensor:
    """The mean KL divergence in nats of softmax(logits) (n, C) from probabilities (n, C)."""
    known = ensemble.clamp_min(TINY).log()
    found: Tensor = (ensemble * (known - logits.log_softmax(-1))).sum(-1).mean().clamp_min(0.0)
    return found


def departure(values: Tensor, rows: Sequence[Tensor]) -> Tensor:
    """The mean square of values (n, D) less the mean of rows, over that mean's variance."""
    mean = torch.stack(list(rows)).mean(0)
    spread = (mean - mean.mean(0)).square().mean()
    return (values - mean).square().mean() / spread.clamp_min(TINY)


def _plain(table: Tensor) -> Any:
    if table.dim() == 0:
        value = float(table)
        return value if value == value else None
    return [_plain(row) for row in table]
