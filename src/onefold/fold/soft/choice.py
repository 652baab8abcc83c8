"""The choice between the gated network, the aligned average and the best member.

Of the members only one is a candidate: that of the lowest mean loss on all labelled examples, on
each of the two parts at its best temperature, if outputs of the task have one. A member has seen
neither part, and a choice among many on few held-out examples is luck.

Of the candidates, those are close whose deciding score, as the accuracy of classifiers, is within
one standard error of the best. Of these the one of the lowest held-out loss leads, and the simplest
one is taken whose loss is within a standard error of the leader's: a member before the aligned
average, and that before gates. Both errors are those of paired differences (measure/paired.py), of
the losses at each network's best temperature. The scores of nearly equal networks differ by chance
on a few hundred examples, and their losses tell more; where they tell nothing either, nothing
speaks for more parts. The rule of one standard error: Breiman, Friedman, Olshen & Stone 1984,
"Classification and Regression Trees", section 3.4.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onefold.finite import finite
from onefold.measure.paired import Difference, difference
from onefold.tasks import Score, Scores
from onefold.tasks.score import ACCURACY, NLL


@dataclass(frozen=True)
class Choice:
    """The decision and what it was made by.

    Attributes:
        name: of the network that was taken.
        candidates: the networks that could be chosen.
        close: the candidates within one standard error of the best score.
        level: of these, the candidates within one standard error of the lowest loss.
        held_out: name -> (deciding score; loss at the best temperature) of the candidates, on
            `examples` examples.
        members: name -> mean loss of every member on all `labelled` examples.
        examples: the number of held-out examples.
        labelled: the number of all labelled examples.
        kind: the score that decides.
        loss: what the loss is.
        tempered: whether losses are at the best temperature; else as they are.
    """

    name: str
    candidates: tuple[str, ...]
    close: tuple[str, ...]
    held_out: dict[str, tuple[float, float]]
    members: dict[str, float]
    examples: int
    labelled: int
    level: tuple[str, ...] = ()
    kind: Score = ACCURACY
    loss: Score = NLL
    tempered: bool = True

    def __str__(self) -> str:
        kind, unit = self.kind, f" {self.loss.unit}" * bool(self.loss.unit)
        plain = not kind.unit  # a bare number needs its name
        told = "; ".join(
            f"{name} {f'{kind.label} ' * plain}{kind.shown(score)},"
            f" {'loss ' * (not unit)}{loss:.4f}{unit}"
            for name, (score, loss) in self.held_out.items()
        )
        how = "; losses at the best temperature" * self.tempered
        parts = [f"{self.name} was chosen on {self.examples} held-out examples ({told}{how})."]
        best = f"{'lowest' if kind.highest is False else 'highest'} {kind.label}"
        if len(self.close) > 1:
            near = ", ".join(self.close)
            leads = "it has the lowest loss"
            if len(self.level) > 1:
                leads = (
                    f"it is the simplest whose loss is within a paired standard error of the lowest"
                    f" ({', '.join(self.level)})"
                )
            parts.append(
                f"Of those within one paired standard error of the {best} ({near}) {leads}."
            )
        elif len(self.candidates) > 1:
            parts.append(
                f"The others are behind in {kind.label} by more than one paired standard error."
            )
        if len(self.members) > 1:
            only = next(name for name in self.candidates if name in self.members)
            losses = ", ".join(f"{name} {loss:.4f}" for name, loss in self.members.items())
            parts.append(
                f"Of the members only {only} was a candidate, as its loss is the lowest on all"
                f" {self.labelled} labelled examples ({losses}{unit})."
            )
        return " ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; infinities become words."""
        return {
            "candidates": list(self.candidates),
            "within one paired standard error": list(self.close),
            "and in loss": list(self.level),
            "members' losses on all labelled examples": {
                name: finite(loss) for name, loss in self.members.items()
            },
            "score": self.kind.name,
            "labelled examples": self.labelled,
            "held-out examples": self.examples,
            "reason": str(self),
        }


def choose(
    scores: Mapping[str, Scores],
    fitted: Mapping[str, Scores],
    learned: Mapping[str, float],
    examples: int,
    *,
    tempered: bool = True,
) -> Choice:
    """Choose among networks.

    Args:
        scores: name -> scores on the held-out examples, the network of most parts first.
        fitted: name -> the same at the best temperature.
        learned: name of a member -> the same loss on the examples that gates were learned from.
        examples: the number of these examples.
        tempered: whether outputs have a temperature.
    """
    first = next(iter(scores.values()))
    held = first.n
    losses = {name: of_one.loss for name, of_one in fitted.items()}
    members = {
        name: (examples * loss + held * losses[name]) / (examples + held)
        for name, loss in learned.items()
    }
    best = min(members, key=lambda name: members[name], default="")
    candidates = [name for name in scores if name not in members or name == best]
    close = near_the_top(candidates, scores, losses)
    level = level_in_loss(close, fitted)
    return Choice(
        level[-1],
        tuple(candidates),
        tuple(close),
        {name: (scores[name].primary, losses[name]) for name in candidates},
        members,
        held,
        examples + held,
        tuple(level),
        first.kind,
        first.loss_kind,
        tempered,
    )


def near_the_top(
    names: Sequence[str], scores: Mapping[str, Scores], losses: Mapping[str, float]
) -> list[str]:
    """The names whose deciding score is within one paired standard error of the best.

    On a tie the best is that of the lowest loss. If no error is known, only equal scores are close.
    """
    top = scores[max(names, key=lambda name: (scores[name].rank[0], -losses[name]))]
    found = {name: difference(top, scores[name]) for name in names}
    return [
        name for name in names if found[name].gain == 0 or found[name].gain <= found[name].error
    ]


def level_in_loss(names: Sequence[str], fitted: Mapping[str, Scores]) -> list[str]:
    """The names whose loss is within one paired standard error of the lowest."""
    lowest = min(names, key=lambda name: fitted[name].loss)
    found = {name: difference(fitted[name], fitted[lowest]) for name in names}
    return [
        name
        for name in names
        if name == lowest or (math.isfinite(found[name].loss_error) and _within(found[name]))
    ]


def _within(above: Difference) -> bool:
    return above.loss <= above.loss_error


__all__ = ["Choice", "choose", "level_in_loss", "near_the_top"]
