"""The reasons of a fold that chooses by labels, in words that follow from its scores.

The choice is the best score on held-out examples, on a tie the lowest loss (`Scores.rank`). Whether
chance may have decided follows from paired differences (measure/paired.py): of every rival that is
not clearly worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onefold.finite import finite
from onefold.measure.paired import difference
from onefold.tasks import Scores


def not_clearly_worse(choice: str, scores: Mapping[str, Scores]) -> list[str]:
    """The other names whose paired difference to the chosen one is not clear."""
    return [
        name
        for name in scores
        if name != choice and not difference(scores[choice], scores[name]).clear
    ]


def reason(choice: str, scores: Mapping[str, Scores]) -> str:
    """One clause: in what the chosen one leads, and whom it does not lead clearly.

    Args:
        choice: the chosen name.
        scores: of all candidates, by name.
    """
    best = scores[choice]
    kind, loss = best.kind, best.loss_kind
    side = "lowest" if kind.highest is False else "highest"
    text = (
        f"of {len(scores)} candidates it has the {side} {kind.label} on {best.n} held-out examples,"
        f" {kind.shown(best.primary)}"
    )
    level = [name for name in scores if name != choice and scores[name].primary == best.primary]
    if level:
        equal = all(scores[name].loss == best.loss for name in level)
        lower = f"has no higher loss than they ({loss.shown(best.loss)})"
        decided = "is the first of them" if equal else lower
        text += f", as {_have(level)}, and {decided}"
    near = not_clearly_worse(choice, scores)
    if near:
        told = "; ".join(f"{name} {difference(scores[name], best)}" for name in near)
        return (
            f"{text}; chance may have decided against {len(near)} of them, which are not clearly"
            f" different ({told})"
        )
    if len(scores) == 1:
        return text
    return f"{text}; each of the others is clearly worse, example by example"


def losses(scores: Mapping[str, Scores]) -> dict[str, float | str]:
    """The losses, ready for JSON."""
    return {name: finite(of_name.loss) for name, of_name in scores.items()}


def soup_note(chosen: Sequence[int], trials: Sequence[Mapping[str, Any]], examples: int) -> str:
    """One sentence: the members of a greedy soup, and the scores that decided.

    Args:
        chosen: the soup's members.
        trials: plain data of every trial.
        examples: the number of held-out examples.
    """
    level = sum(not trial["kept"] and not trial["clear"] for trial in trials)
    by = f"on {examples} held-out examples by more than a paired standard error"
    left = len(trials) - sum(bool(trial["kept"]) for trial in trials)
    told = f"{left} of {len(trials)} trials were left out"
    if left:
        told += f", {level} of them not clearly worse" if level else ", all of them clearly worse"
    if len(chosen) == 1:
        return (
            f"no other member made the average with member {chosen[0]} alone better {by}, so that"
            f" this member is the result; {told}"
        )
    return (
        f"the soup is of members {', '.join(map(str, chosen))}, each of which made it better {by},"
        f" in score or, where that is level, in loss; {told}"
    )


def _have(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'has' if len(names) == 1 else 'have'}"


__all__ = ["losses", "not_clearly_worse", "reason", "soup_note"]
