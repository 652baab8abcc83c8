"""What the outputs of several networks tell of what they know, without labels.

The ensemble g is the task's mean, and

    off_k = divergence(f_k, g)

how far a member is from it, as the task measures it: of classes mean_x KL(q(x) || p_k(x)) in nats,
q the mean of the probabilities. Numbers have the mean square of f_k - g over the variance of g.

Classes have shares besides, by which networks are told apart (`class_knowledge.py`). Tasks with
answers, as yes and no, have agreement.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from onefold.comparison.class_knowledge import alone_and_sure, class_shares
from onefold.comparison.predictions import CLASSES, Predictions
from onefold.ensemble.told_apart import agreements, variations
from onefold.tasks.base import Task
from onefold.tasks.binary import OfYes

TINY = 1e-30
SQUARE = "mean square"  # a distance in the unit of the labels, which is held against a variance


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What the outputs of K networks on the same n examples tell.

    All tensors are float64 on the CPU.

    Attributes:
        examples: n.
        off: (K,) how far every member is from the ensemble (see above), in `unit`.
        shares: (K, C) the mean probability of every class; None if the outputs are no classes.
        agreement: (K, K) the shares of rows with equal answers; None if there are no answers.
        with_ensemble: (K,) the shares of rows on which a member answers as the ensemble; None as
            above.
        sure: (K,) a member's mean highest probability on rows where no other member predicts its
            class; NaN if there are none; None if the outputs are no classes.
        yes: (K, L) the mean probability of yes, label by label; None if the answers are others.
        task: what the networks are asked.
        dense: whether an example has several rows, as pixels or tokens.
    """

    examples: int
    off: Tensor
    shares: Tensor | None = None
    agreement: Tensor | None = None
    with_ensemble: Tensor | None = None
    sure: Tensor | None = None
    yes: Tensor | None = None
    task: Task = field(default=CLASSES, repr=False)
    dense: bool = False

    @property
    def apart(self) -> float | None:
        """The largest total variation of two members' shares, from 0 to 1; None without classes."""
        if self.shares is None:
            return None
        return float(variations(self.shares).max())

    @property
    def apart_in_yes(self) -> float | None:
        """The largest difference of two members' shares of yes, over all labels; None without."""
        if self.yes is None:
            return None
        return float((self.yes.amax(0) - self.yes.amin(0)).max())

    @property
    def unit(self) -> str:
        """The unit of `off`, as words behind a number."""
        return "of the mean's variance" if self.task.distance == SQUARE else self.task.distance

    @property
    def nearest(self) -> int:
        """The member that agrees most with the ensemble, on a tie the one that is less far off."""
        agree = torch.zeros_like(self.off) if self.with_ensemble is None else self.with_ensemble
        return min(range(len(self.off)), key=lambda k: (-float(agree[k]), float(self.off[k])))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; NaN becomes null."""
        tables = ("shares", "agreement", "with_ensemble", "sure", "yes", "off")
        found = {name: getattr(self, name) for name in tables}
        return {
            "examples": self.examples,
            "task": self.task.name,
            "apart": self.apart,
            **{name: None if table is None else _plain(table) for name, table in found.items()},
        }


def knowledge_of(predictions: Predictions, members: int) -> Knowledge:
    """What the first `members` networks' outputs tell.

    Args:
        predictions: finite ones.
        members: K.
    """
    rows, task = predictions.rows[:members], predictions.asked
    ensemble = task.mean(rows, task.means[0])
    found = [task.answers(own) for own in (*rows, ensemble)]
    answers = None
    if found[0] is not None:
        answers = torch.stack([own for own in found if own is not None])
    return Knowledge(
        predictions.examples,
        torch.stack([_off(own, ensemble, task) for own in rows]),
        class_shares(rows) if task.classes else None,
        None if answers is None else agreements(answers[:-1]),
        None if answers is None else (answers[:-1] == answers[-1]).double().mean(-1),
        alone_and_sure(rows) if task.classes else None,
        torch.stack([task.told(own).double().mean(0) for own in rows])
        if isinstance(task, OfYes)
        else None,
        task,
        len(rows[0]) > predictions.examples,
    )


def off_ensemble(predictions: Predictions, members: int, number: int) -> float:
    """How far network `number` is from the ensemble of the first `members` (see above)."""
    task = predictions.asked
    ensemble = task.mean(predictions.rows[:members], task.means[0])
    return float(_off(predictions.rows[number], ensemble, task))


def _off(values: Tensor, ensemble: Tensor, task: Task) -> Tensor:
    """How far values (n, D) are from the ensemble's, float64."""
    found = task.divergence(values, task.aim(ensemble, 1.0), 1.0).double().clamp_min(0.0)
    if task.distance != SQUARE:
        return found
    middle = ensemble.mean(0).expand_as(ensemble)
    return found / task.divergence(ensemble, task.aim(middle, 1.0), 1.0).double().clamp_min(TINY)


def _plain(table: Tensor) -> Any:
    if table.dim() == 0:
        value = float(table)
        return value if value == value else None
    return [_plain(row) for row in table]
