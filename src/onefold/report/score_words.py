"""The words and columns for scores of any task, by what the task says of them.

An accuracy has words of its own, as "more accurate" reads better than "better in accuracy".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from onefold.errors import DataError
from onefold.report.blocks import Column
from onefold.tasks.score import Score
from onefold.tasks.scores import Scores

# Scores that say much the same as another one of their task: a short table leaves them out.
DETAILS = ("brier", "mse")
CALIBRATION = "ece"  # the score that is counted in bins
RANGES = {"brier": "0 to 2"}  # of scores without a unit


def points(kind: Score) -> str:
    """The unit of a difference in a heading: of percentages it is the point."""
    return "points" if kind.unit == "%" else kind.unit


def marked(kind: Score) -> Literal["", "highest", "lowest"]:
    """Which numbers of a score are the best; "" if nobody said."""
    if kind.highest is None:
        return ""
    return "highest" if kind.highest else "lowest"


def about_accuracy(kind: Score) -> bool:
    """Whether a score is the share of right answers."""
    return kind.name == "accuracy"


def counts_answers(scores: Scores) -> bool:
    """Whether the examples of the deciding score are right or wrong, so that some are won."""
    answers = scores.answers
    return about_accuracy(scores.kind) and (answers is None or answers.single)


def shown_kinds(scores: Scores) -> list[Score]:
    """What is known of the scores, the deciding one first."""
    return [scores.kind, *(kind for kind in scores.kinds if kind.name != scores.by)]


def columns_of(scores: Scores) -> tuple[Column, ...]:
    """Columns of all scores: the deciding one, its standard error, and the others."""
    kind, *others = shown_kinds(scores)
    first = Column(name=kind.label, unit=kind.unit, digits=kind.digits, best=marked(kind))
    error = Column(
        name="standard error", unit=points(kind), digits=kind.digits, part="error", detail=True
    )
    return (first, error, *(_further(other, scores) for other in others))


def cells_of(scores: Scores) -> tuple[float, ...]:
    """The numbers for `columns_of`."""
    kind, *others = shown_kinds(scores)
    return (
        kind.scale * scores.primary,
        kind.scale * scores.error,
        *(other.scale * scores[other.name] for other in others),
    )


def _further(kind: Score, scores: Scores) -> Column:
    unit = kind.unit or RANGES.get(kind.name, "")
    if kind.name == CALIBRATION:
        unit = f"{unit}, {scores.bins} {scores.binning} bins"
    return Column(
        name=kind.label,
        unit=unit,
        digits=kind.digits,
        best=marked(kind),
        detail=kind.name in DETAILS,
    )


def value(scores: Scores) -> str:
    """The deciding score in a sentence: percentages with one decimal, others with all digits."""
    kind = scores.kind
    if kind.unit == "%":
        return f"{kind.scale * scores.primary:.1f} %"
    return kind.shown(scores.primary)


def value_with_error(scores: Scores) -> str:
    """As `value`, with the standard error where it is known."""
    kind, error = scores.kind, scores.error
    if math.isnan(error):
        return value(scores)
    digits = 1 if kind.unit == "%" else kind.digits
    return f"{value(scores)} ± {kind.scale * error:.{digits}f}"


def direction(kind: Score) -> str:
    """What a chart says of scores of which less is better; "" of others."""
    return ", lower is better" if kind.highest is False else ""


def capital(text: str) -> str:
    """The text with a capital at its beginning; the rest stays, as in "mean IoU"."""
    return f"{text[:1].upper()}{text[1:]}"


def check_alike(named: Sequence[tuple[str, Scores]]) -> None:
    """Refuse scores that are not of one task, or are not decided by the same.

    Args:
        named: the name of every row with its scores, one at least.

    Raises:
        DataError: as said.
    """
    name, first = named[0]
    for other, own in named:
        if own.task != first.task or own.by != first.by or own.kinds != first.kinds:
            raise DataError(
                f"'{name}' has scores of {first.task} by {first.by}, '{other}' of {own.task} by"
                f" {own.by}; score all candidates by one task and the same metrics."
            )


__all__ = [
    "CALIBRATION",
    "about_accuracy",
    "capital",
    "cells_of",
    "check_alike",
    "columns_of",
    "counts_answers",
    "direction",
    "marked",
    "points",
    "shown_kinds",
    "value",
    "value_with_error",
]
