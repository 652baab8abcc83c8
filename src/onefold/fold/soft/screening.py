"""Screening: the choice of members that may take part, by their outputs on labelled examples.

A member is left out for one of three reasons:

- its outputs are not finite;
- the task finds it useless (`Task.useless`): a classifier that no temperature makes better than
  guessing, a regressor that tells nothing of the labels at any scale and shift;
- the root mean square of its outputs is not within a factor of 100 of that of the member with the
  lowest loss (of several as good, within 0.05, the one of the smallest outputs).

Losses in nats are compared as they are. Others are measured in the loss of a guess that knows
nothing (`Task.guess`), so that units of labels do not matter.

A loss without a temperature would leave out honest members that were trained on a part of the
classes, which are wrong with great confidence on the others. The rule is our own. On 160 honest
and broken members of a study it left out no honest one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from onefold.errors import MembersError
from onefold.fold.soft.answered import Answered
from onefold.fold.soft.examples import Examples
from onefold.tasks import Task
from onefold.tasks.reading import in_nats

MARGIN = 0.05  # nats, or of the loss of a guess
SCALE = 100.0


@dataclass(frozen=True)
class MemberScore:
    """One member on the labelled examples.

    Attributes:
        finite: whether its outputs are finite.
        rms: the root mean square of its outputs.
        loss: its mean loss.
        fitted_loss: the same at the best temperature, if there is one.
        useless: why its outputs tell nothing, in words behind "it"; "" if they do.
        broken: which examples have outputs that are not finite, in words behind "not finite"; ""
            for all of them.
    """

    finite: bool
    rms: float
    loss: float
    fitted_loss: float
    useless: str = ""
    broken: str = ""


@dataclass(frozen=True)
class Guess:
    """A guess that knows nothing of the inputs.

    Attributes:
        loss: its mean loss.
        unit: of losses: 1 if they are in nats, else the loss of the guess.
        name: of the unit, for messages.
    """

    loss: float
    unit: float
    name: str

    @classmethod
    def of(cls, task: Task, found: Answered) -> Guess:
        """The guess on the rows of any member."""
        values = found.values.float() if found.values.element_size() < 4 else found.values
        loss = float(task.losses(task.guess(values, found.targets), found.targets).mean())
        if in_nats(task):
            return cls(loss, 1.0, "nats")
        return cls(loss, loss if math.isfinite(loss) and loss > 0 else 1.0, "of a guess's loss")


def score_member(task: Task, found: Answered, examples: Examples) -> MemberScore:
    """The score of a member on examples."""
    values = found.values.double() if task.wide else found.values.float()
    fine = values.isfinite().all(-1)
    if not bool(fine.all()):
        told = _broken(found, fine, examples)
        return MemberScore(False, math.inf, math.inf, math.inf, broken=told)
    rms = float(values.square().mean().sqrt())
    loss = float(task.losses(values, found.targets).mean())
    scaled = task.calibrated(values, found.targets)
    fitted = float(task.losses(scaled, found.targets).mean())
    return MemberScore(
        True,
        rms,
        loss if math.isfinite(loss) else math.inf,
        fitted,
        task.useless(scaled, found.targets),
    )


def _broken(found: Answered, fine: torch.Tensor, examples: Examples) -> str:
    """Which examples' outputs are not finite, by their place in the data; "" if all are not."""
    bad: set[int] = set()
    start = before = 0
    for rows, targets, shape in zip(found.parts, found.labels, found.shapes, strict=True):
        owners = rows.owners
        if owners is None:
            kept = torch.ones(shape[0], dtype=torch.bool) if targets.kept is None else targets.kept
            owners = kept.cpu().nonzero()[:, 0]
        own = ~fine[start : start + len(rows.values)].cpu()
        bad |= {before + int(owner) for owner in owners[own].tolist()}
        start += len(rows.values)
        before += shape[0]
    if len(bad) >= before:
        return ""
    first = min(examples.number(each) for each in bad)
    return f" on {len(bad)} of {before} examples, the first of them example {first} of the data"


def screen(scores: Sequence[MemberScore], guess: Guess) -> dict[int, str]:
    """Member -> why it is left out, in words that follow its name."""
    reasons = {}
    for k, score in enumerate(scores):
        if not score.finite:
            reasons[k] = f"its outputs are not finite{score.broken}"
        elif score.useless:
            reasons[k] = f"it {score.useless}"
    left = [k for k in range(len(scores)) if k not in reasons]
    if left:
        margin = MARGIN * guess.unit
        lowest = min(scores[k].loss for k in left)
        # If members are perfect, one of huge outputs has the lowest loss of all. So of those that
        # are as good, the one of the smallest outputs sets the scale.
        close = [k for k in left if scores[k].loss <= lowest + margin]
        best = min(close, key=lambda k: scores[k].rms)
        for k in left:
            ratio = scores[k].rms / max(scores[best].rms, 1e-300)
            if not 1 / SCALE <= ratio <= SCALE:
                reasons[k] = (
                    f"its outputs are {ratio:.1e} times as large as those of member {best},"
                    f" of those within {MARGIN} {guess.name} of the lowest loss the one of the"
                    " smallest outputs"
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


__all__ = ["Guess", "MemberScore", "best_member", "check_survivors", "score_member", "screen"]
