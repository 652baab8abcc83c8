"""Screening: the choice of members that may take part, by their outputs on labelled examples.

A member is left out for one of three reasons:

- its outputs are not finite;
- no temperature makes it better than guessing, min_T CE(f(x) / T, y) >= ln C - 0.05;
- the root mean square of its outputs is not within a factor of 100 of that of the member with the
  lowest loss (of several as good, within 0.05 nats, the one of the smallest outputs).

Cross-entropy without a temperature would leave out honest members that were trained on a part of
the classes, which are wrong with great confidence on the others. The rule is our own. On 160 honest
and broken members of a study it left out no honest one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from onefold.errors import MembersError
from onefold.fold.soft.examples import Examples
from onefold.inference import ClassAxis, Output, run
from onefold.inference.running import eval_mode

MARGIN = 0.05  # nats
SCALE = 100.0


@dataclass(frozen=True)
class MemberScore:
    """One member on the labelled examples.

    Attributes:
        finite: whether its outputs are finite.
        rms: the root mean square of its outputs.
        loss: the mean cross-entropy, in nats.
        fitted_loss: the same at the best temperature.
        accuracy: a fraction of 1.
    """

    finite: bool
    rms: float
    loss: float
    fitted_loss: float
    accuracy: float


@torch.no_grad()
def member_logits(
    model: nn.Module, examples: Examples, output: Output, axis: ClassAxis, size: int = 256
) -> Tensor:
    """The logits (n, classes) of one network on all examples, in eval mode and in its own dtype."""
    with eval_mode([model]):
        rows = []
        for batch in examples.batches(size):
            returned = run(model, batch, output)
            where = f" of batch {batch.index}"
            logits = axis.last(returned, batch.labels, scored=True, where=where)
            rows.append(logits.flatten(0, -2))
        return torch.cat(rows)


def score_member(logits: Tensor, labels: Tensor) -> MemberScore:
    """The score of logits (n, C) against labels (n,)."""
    logits = logits.double()
    if not bool(logits.isfinite().all()):
        return MemberScore(False, math.inf, math.inf, math.inf, 0.0)
    rms = float(logits.square().mean().sqrt())
    loss = float(F.cross_entropy(logits, labels))
    accuracy = float((logits.argmax(-1) == labels).double().mean())
    return MemberScore(
        True, rms, loss if math.isfinite(loss) else math.inf, fitted_loss(logits, labels), accuracy
    )


def fitted_loss(logits: Tensor, labels: Tensor) -> float:
    """The minimum over T > 0 of the mean cross-entropy of logits (n, C) / T, in nats."""
    return float(F.cross_entropy(fitted_logits(logits, labels), labels))


def fitted_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits (n, C) / T in float64, with T > 0 of the least mean cross-entropy.

    The loss is convex in 1 / T.
    """
    unit = logits.double() / logits.double().square().mean().sqrt().clamp_min(1e-300)

    def loss(log_scale: float) -> float:
        return float(F.cross_entropy(unit * math.exp(log_scale), labels))

    found = minimize_scalar(loss, bounds=(math.log(1e-4), math.log(1e4)), method="bounded")
    least = math.log(1e-4)
    return unit * math.exp(found.x if float(found.fun) < loss(least) else least)


def screen(scores: Sequence[MemberScore], classes: int) -> dict[int, str]:
    """Member -> why it is left out, in words that follow its name."""
    guessing = math.log(classes) - MARGIN
    reasons = {}
    for k, score in enumerate(scores):
        if not score.finite:
            reasons[k] = "its outputs are not finite"
        elif score.fitted_loss >= guessing:
            told = (
                f"loss {score.fitted_loss:.2f}, guessing {math.log(classes):.2f} nats, of which it"
                f" must be {MARGIN} below"
            )
            reasons[k] = f"it is no better than guessing at any temperature ({told})"
    left = [k for k in range(len(scores)) if k not in reasons]
    if left:
        lowest = min(scores[k].loss for k in left)
        # If members are perfect, one of huge outputs has the lowest loss of all. So of those that
        # are as good, the one of the smallest outputs sets the scale.
        close = [k for k in left if scores[k].loss <= lowest + MARGIN]
        best = min(close, key=lambda k: scores[k].rms)
        for k in left:
            ratio = scores[k].rms / max(scores[best].rms, 1e-300)
            if not 1 / SCALE <= ratio <= SCALE:
                reasons[k] = (
                    f"its outputs are {ratio:.1e} times as large as those of member {best},"
                    f" of those within {MARGIN} nats of the lowest loss the one of the smallest"
                    " outputs"
                )
    return reasons


def check_survivors(
    survivors: Sequence[int], dropped: Mapping[int, str], reference: int | None
) -> None:
    """Refuse a merge of no members, or with an unfit reference.

    Raises:
        MembersError: every member is unfit, or the reference is.
    """
    if not survivors:
        told = "; ".join(f"member {k}: {why}" for k, why in dropped.items())
        raise MembersError(
            f"No member is left to merge ({told}); check the members and that the labels are"
            " theirs, or pass screen=False (--no-screen)."
        )
    if reference is not None and reference in dropped:
        raise MembersError(
            f"Member {reference}, the reference, is unfit: {dropped[reference]}; choose another,"
            " or 'best'."
        )


def best_member(scores: Sequence[MemberScore], left: Sequence[int]) -> int:
    """The member of `left` with the lowest loss."""
    return min(left, key=lambda k: (scores[k].loss, scores[k].fitted_loss))


__all__ = [
    "MemberScore",
    "best_member",
    "check_survivors",
    "fitted_logits",
    "fitted_loss",
    "member_logits",
    "score_member",
    "screen",
]
