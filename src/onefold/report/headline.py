"""The verdict of a page in one sentence: a result beside the best network and the ensemble."""

from __future__ import annotations

from typing import Literal, NamedTuple

from onefold.measure.paired import difference
from onefold.report.comparison import Candidate

Tone = Literal["gain", "even", "loss"]
TIMES = {2.0: "twice", 3.0: "three times", 4.0: "four times", 5.0: "five times"}


class Headline(NamedTuple):
    """A verdict.

    Attributes:
        text: one sentence.
        tone: whether the result is clearly better or worse than the best network.
    """

    text: str
    tone: Tone


def headline(result: Candidate, best: Candidate, ensemble: Candidate | None = None) -> Headline:
    """One sentence on a result, by the rule of `verdict`: clear is beyond two standard errors.

    Args:
        result: the network in question, named as the subject of a sentence.
        best: the single network that it must be compared with.
        ensemble: the ensemble, which costs more; None: there is none.
    """
    gap = difference(result.scores, best.scores)
    own, other = _percent(result), _percent(best)
    name = f"{result.name[:1].upper()}{result.name[1:]}"
    if gap.paired and not gap.won and not gap.lost:
        text = f"{name} answers as {best.name} does ({own} right)"
        tone: Tone = "even"
    elif gap.clear:
        tone = "gain" if gap.gain > 0 else "loss"
        points = f"{100 * abs(gap.gain):.1f} points {'more' if gap.gain > 0 else 'less'} accurate"
        text = f"{name} is {points} than {best.name} ({own} against {other})"
    else:
        text = f"{name} is not clearly different from {best.name} ({own} against {other})"
        tone = "even"
    if ensemble is not None:
        text += f", and {ensemble.name} reaches {_percent(ensemble)}{_cost(result, ensemble)}"
    return Headline(f"{text}.", tone)


def _cost(result: Candidate, ensemble: Candidate) -> str:
    """How much more the ensemble costs, in words."""
    if not result.cost or ensemble.cost <= result.cost:
        return ""
    times = round(ensemble.cost / result.cost, 1)
    return f" at {TIMES.get(times, f'{times:g} times')} the cost"


def _percent(row: Candidate) -> str:
    return f"{100 * row.scores.accuracy:.1f} %"


__all__ = ["Headline", "headline"]
