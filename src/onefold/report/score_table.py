"""Candidates as a page shows them: a table, and the points of the chart on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onefold.errors import DataError
from onefold.measure.paired import difference
from onefold.report.blocks import Cell, Column, Picture, Table
from onefold.report.comparison import Candidate, near_chance, notes_of
from onefold.report.cost_chart import Point, cost_chart
from onefold.report.score_words import (
    CALIBRATION,
    check_alike,
    counts_answers,
    marked,
    points,
    shown_kinds,
)
from onefold.tasks.score import ACCURACY, Score
from onefold.tasks.scores import Scores


def score_table(rows: Sequence[Candidate], against: str, called: str = "") -> Table:
    """A row for each candidate, with what the named one gains over it.

    Args:
        rows: the candidates.
        against: the name of the candidate that the others are held against, example by example.
        called: what the table calls it; "": by its name.

    Raises:
        DataError: none has that name, or the scores are of different tasks.
    """
    base = next((row for row in rows if row.name == against), None)
    if base is None:
        raise DataError(f"There is no candidate named '{against}'; name one of the rows.")
    check_alike([(row.name, row.scores) for row in rows])
    scores, called = base.scores, called or against
    kind, *others = shown_kinds(scores)
    single, unit = counts_answers(scores), points(kind)
    style: dict[str, Any] = {"unit": unit, "digits": kind.digits}
    columns = (
        Column(name="network"),
        Column(name="note", part="note"),
        Column(name=kind.label, unit=kind.unit, digits=kind.digits, best=marked(kind)),
        Column(name="standard error", part="error", **style),
        Column(name=f"gain of {called}", signed=True, **style),
        Column(name="standard error, paired", part="error", **style),
        *([Column(name="gained"), Column(name="lost")] if single else []),
        *map(_further, others),
        Column(name="cost", digits=2),
    )
    return Table(
        columns=columns,
        rows=tuple(_cells(row, base) for row in rows),
        caption=" ".join([_caption(scores, called), *near_chance(rows)]),
        emphasis=tuple(i for i, row in enumerate(rows) if row is base),
    )


def _further(kind: Score) -> Column:
    """A score beside the deciding one, with a digit less."""
    name, digits = kind.label.removesuffix(" score"), max(1, kind.digits - 1)
    return Column(name=name, unit=kind.unit, digits=digits, best=marked(kind))


def _caption(scores: Scores, called: str) -> str:
    told = [f"Scores of {scores.n:,} examples; ± is one standard error."]
    if counts_answers(scores):
        told.append(
            f"Gained and lost are the examples that {called} alone answers rightly, and that the"
            " other alone does."
        )
    elif scores.kind.highest is False:
        told.append(f"A gain above 0 is a lower {scores.kind.label}.")
    if CALIBRATION in scores.values:
        told.append(f"ECE takes {scores.bins} {scores.binning} bins.")
    told.append("Cost is that of inference, in single networks. Best values are marked.")
    return " ".join(told)


def score_chart(rows: Sequence[Candidate], against: str) -> Picture:
    """The candidates in the chart of score against cost; mapped members are left out."""
    shown = [row for row in rows if row.kind != "mapped"]
    points = [
        Point(
            row.name,
            row.scores.primary,
            row.scores.error,
            row.cost,
            "result" if row.name == against else row.kind,
        )
        for row in shown
    ]
    return cost_chart(points, shown[0].scores.kind if shown else ACCURACY)


def _cells(row: Candidate, base: Candidate) -> tuple[Cell, ...]:
    own, gap = row.scores, difference(base.scores, row.scores)
    kind, *others = shown_kinds(base.scores)
    single = counts_answers(base.scores)
    gain: tuple[Cell, ...] = (None, None, *([None, None] if single else []))
    if row is not base:
        counts: tuple[Cell, ...] = (gap.won, gap.lost) if gap.paired else (None, None)
        gain = (kind.scale * gap.gain, kind.scale * gap.error, *(counts if single else ()))
    return (
        row.name,
        "; ".join(notes_of(row)),
        kind.scale * own.primary,
        kind.scale * own.error,
        *gain,
        *(other.scale * own[other.name] for other in others),
        float(row.cost),
    )


__all__ = ["score_chart", "score_table"]
