"""The choice between the gated network, the aligned average and the best member.

Of the members only one is a candidate: that of the lowest mean loss on all labelled examples, at
its best temperature on each of the two parts. A member has seen neither part, and a choice among
many on few held-out examples is luck.

Of the candidates, those are close whose accuracy is within one standard error of the highest. Of
these the one of the lowest held-out loss leads, and the simplest one is taken whose loss is within
a standard error of the leader's: a member before the aligned average, and that before gates. Both
errors are those of paired differences (measure/paired.py), of the losses at each network's best
temperature. The accuracies of nearly equal networks differ by chance on a few hundred examples, and
their losses tell more; where they tell nothing either, nothing speaks for more parts. The rule of
one standard error: Breiman, Friedman, Olshen & Stone 1984, "Classification and Regression Trees",
section 3.4.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onefold.finite import finite
from onefold.measure.paired import Difference, difference
from onefold.measure.scores import Scores


@dataclass(frozen=True)
class Choice:
    """The decision and what it was made by.

    Attributes:
        name: of the network that was taken.
        candidates: the networks that could be chosen.
        close: the candidates within one standard error of the highest accuracy.
        level: of these, the candidates within one standard error of the lowest loss.
        held_out: name -> (accuracy, a fraction of 1; loss at the best temperature, nats) of the
            candidates, on `examples` examples.
        members: name -> mean loss (nats) of every member on all `labelled` examples.
        examples: the number of held-out examples.
        labelled: the number of all labelled examples.
    """

    name: str
    candidates: tuple[str, ...]
    close: tuple[str, ...]
    held_out: dict[str, tuple[float, float]]
    members: dict[str, float]
    examples: int
    labelled: int
    level: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = "; ".join(
            f"{name} {100 * a:.2f} %, {loss:.4f} nats" for name, (a, loss) in self.held_out.items()
        )
        parts = [
            f"{self.name} was chosen on {self.examples} held-out examples ({told}; losses at the"
            " best temperature)."
        ]
        if len(self.close) > 1:
            near = ", ".join(self.close)
            leads = "it has the lowest loss"
            if len(self.level) > 1:
                leads = (
                    f"it is the simplest whose loss is within a paired standard error of the lowest"
                    f" ({', '.join(self.level)})"
                )
            parts.append(
                f"Of those within one paired standard error of the highest accuracy ({near})"
                f" {leads}."
            )
        elif len(self.candidates) > 1:
            parts.append("The others are less accurate by more than one paired standard error.")
        if len(self.members) > 1:
            best = next(name for name in self.candidates if name in self.members)
            losses = ", ".join(f"{name} {loss:.4f}" for name, loss in self.members.items())
            parts.append(
                f"Of the members only {best} was a candidate, as its loss is the lowest on all"
                f" {self.labelled} labelled examples ({losses} nats)."
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
            "labelled examples": self.labelled,
            "held-out examples": self.examples,
            "reason": str(self),
        }


def choose(
    scores: Mapping[str, Scores],
    fitted: Mapping[str, Scores],
    learned: Mapping[str, float],
    examples: int,
) -> Choice:
    """Choose among networks.

    Args:
        scores: name -> scores on the held-out examples, the network of most parts first.
        fitted: name -> the same at the best temperature.
        learned: name of a member -> the same loss on the examples that gates were learned from.
        examples: the number of these examples.
    """
    held = next(iter(scores.values())).n
    losses = {name: of_one.nll for name, of_one in fitted.items()}
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
        {name: (scores[name].accuracy, losses[name]) for name in candidates},
        members,
        held,
        examples + held,
        tuple(level),
    )


def near_the_top(
    names: Sequence[str], scores: Mapping[str, Scores], losses: Mapping[str, float]
) -> list[str]:
    """The names whose accuracy is within one paired standard error of the highest.

    On a tie the highest is that of the lowest loss.
    """
    top = scores[max(names, key=lambda name: (scores[name].accuracy, -losses[name]))]
    found = {name: difference(top, scores[name]) for name in names}
    return [name for name in names if found[name].gain <= found[name].error]


def level_in_loss(names: Sequence[str], fitted: Mapping[str, Scores]) -> list[str]:
    """The names whose loss is within one paired standard error of the lowest."""
    lowest = min(names, key=lambda name: fitted[name].nll)
    found = {name: difference(fitted[name], fitted[lowest]) for name in names}
    return [
        name
        for name in names
        if name == lowest or (math.isfinite(found[name].loss_error) and _within(found[name]))
    ]


def _within(above: Difference) -> bool:
    return above.loss <= above.loss_error


__all__ = ["Choice", "choose", "level_in_loss", "near_the_top"]
