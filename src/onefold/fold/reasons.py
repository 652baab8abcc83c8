"""Why a fold that chooses by labels chose as it did, in words that follow from the scores it chose
by.

What is chosen is the highest accuracy on held-out examples, on a tie the lowest loss
(`held_out.rank`). Whether chance may have decided is told by paired differences
(measure/paired.py): of every rival that is not clearly less accurate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from onefold.measure.paired import difference
from onefold.measure.scores import Scores


def not_clearly_worse(choice: str, scores: Mapping[str, Scores]) -> list[str]:
    """The other names whose paired difference to the chosen one is no clear one."""
    return [
        name
        for name in scores
        if name != choice and not difference(scores[choice], scores[name]).clear
    ]


def reason(choice: str, scores: Mapping[str, Scores]) -> str:
    """One clause: what the chosen one is ahead in, and of whom not clearly. scores: of all
    candidates, by name.
    """
    own = scores[choice]
    text = (
        f"of {len(scores)} candidates it has the highest accuracy on {own.n} held-out examples,"
        f" {100 * own.accuracy:.2f} %"
    )
    level = [name for name in scores if name != choice and scores[name].accuracy == own.accuracy]
    if level:
        equal = all(scores[name].nll == own.nll for name in level)
        decided = (
            "is the first of them"
            if equal
            else f"has no higher loss than they ({own.nll:.4f} nats)"
        )
        text += f", as {_have(level)}, and {decided}"
    near = not_clearly_worse(choice, scores)
    if near:
        told = "; ".join(f"{name} {difference(scores[name], own)}" for name in near)
        return (
            f"{text}; chance may have decided against {len(near)} of them, which are not clearly"
            f" different ({told})"
        )
    return (
        f"{text}; each of the others is clearly less accurate, example by example"
        if len(scores) > 1
        else text
    )


def losses(scores: Mapping[str, Scores]) -> dict[str, float | str]:
    """The losses in nats, ready for JSON."""
    return {name: plain(each.nll) for name, each in scores.items()}


def plain(value: float) -> float | str:
    """The number, or a word where JSON has none."""
    return value if math.isfinite(value) else str(value)


def soup_note(chosen: Sequence[int], trials: Sequence[Mapping[str, Any]], examples: int) -> str:
    """What a greedy soup kept and by what."""
    near = sum(not trial["clear"] for trial in trials)
    doubt = (
        f"{near} of {len(trials)} trials were not clearly different, example by example, so that"
        " chance may have decided them"
    )
    by = f"by accuracy on {examples} held-out examples, on a tie by loss"
    told = doubt if near else "every trial was clear, example by example"
    if len(chosen) == 1:
        return (
            f"every other member made the average with member {chosen[0]} alone worse, {by}, so"
            f" that this member is the result; {told}"
        )
    return (
        f"the soup is of members {', '.join(map(str, chosen))}, each of which made it no worse,"
        f" {by}; {told}"
    )


def _have(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'has' if len(names) == 1 else 'have'}"


__all__ = ["losses", "not_clearly_worse", "plain", "reason", "soup_note"]
