"""The verdict of a page in one sentence: a result beside the best network and the ensemble."""

from __future__ import annotations

from typing import Literal, NamedTuple

from onefold.measure.paired import Difference, difference
from onefold.report.comparison import Candidate, nothing_apart
from onefold.report.score_words import about_accuracy, capital, value

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
    tone: Tone
    gap = difference(result.scores, best.scores)
    name, both = capital(result.name), _both(result, best)
    if nothing_apart(gap):
        text, tone = f"{name} {_as(result, best)}", "even"
    elif gap.clear:
        tone = "gain" if gap.gain > 0 else "loss"
        text = f"{name} is {_better(gap, best.name)} ({both})"
    else:
        text = f"{name} is not clearly different from {best.name} ({both})"
        tone = "even"
    if ensemble is not None:
        reached = value(ensemble.scores)
        text += f", and {ensemble.name} reaches {reached}{_cost(result, ensemble)}"
    return Headline(f"{text}.", tone)


def _better(gap: Difference, than: str) -> str:
    """How much better or worse, in the words of the score that decides."""
    kind = gap.kind
    amount = f"{kind.scale * abs(gap.gain):.{1 if kind.unit == '%' else kind.digits}f}"
    unit = "points" if kind.unit == "%" else kind.unit
    amount = f"{amount} {unit}".rstrip()
    if about_accuracy(kind):
        return f"{amount} {'more' if gap.gain > 0 else 'less'} accurate than {than}"
    return f"{'better' if gap.gain > 0 else 'worse'} than {than} by {amount} in {kind.label}"


def _both(result: Candidate, best: Candidate) -> str:
    """The two scores; their name stands before them unless it is the accuracy."""
    kind = result.scores.kind
    label = "" if about_accuracy(kind) else f"{kind.label} "
    return f"{label}{value(result.scores)} against {value(best.scores)}"


def _as(result: Candidate, best: Candidate) -> str:
    """The sentence on two networks that nothing tells apart."""
    kind, own = result.scores.kind, value(result.scores)
    if about_accuracy(kind):
        return f"answers as {best.name} does ({own} right)"
    return f"scores as {best.name} does ({kind.label} {own})"


def _cost(result: Candidate, ensemble: Candidate) -> str:
    """How much more the ensemble costs, in words."""
    if not result.cost or ensemble.cost <= result.cost:
        return ""
    times = round(ensemble.cost / result.cost, 1)
    return f" at {TIMES.get(times, f'{times:g} times')} the cost"


__all__ = ["Headline", "headline"]
