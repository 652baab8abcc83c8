"""Candidates as a page shows them: a table, and the points of the chart on top."""

from __future__ import annotations

from collections.abc import Sequence

from onefold.errors import DataError
from onefold.measure.paired import difference
from onefold.report.blocks import Cell, Column, Picture, Table
from onefold.report.comparison import Candidate, near_chance, notes_of
from onefold.report.cost_chart import Point, cost_chart


def score_table(rows: Sequence[Candidate], against: str, called: str = "") -> Table:
    """A row for each candidate, with what the named one gains over it.

    Args:
        rows: the candidates.
        against: the name of the candidate that the others are held against, example by example.
        called: what the table calls it; "": by its name.

    Raises:
        DataError: none has that name.
    """
    base = next((row for row in rows if row.name == against), None)
    if base is None:
        raise DataError(f"There is no candidate named '{against}'; name one of the rows.")
    scores, called = base.scores, called or against
    columns = (
        Column(name="network"),
        Column(name="note", part="note"),
        Column(name="accuracy", unit="%", digits=2, best="highest"),
        Column(name="standard error", unit="points", digits=2, part="error"),
        Column(name=f"gain of {called}", unit="points", digits=2, signed=True),
        Column(name="standard error, paired", unit="points", digits=2, part="error"),
        Column(name="gained"),
        Column(name="lost"),
        Column(name="NLL", unit="nats", digits=3, best="lowest"),
        Column(name="ECE", unit="%", digits=1, best="lowest"),
        Column(name="Brier", digits=3, best="lowest"),
        Column(name="cost", digits=2),
    )
    cells = tuple(_cells(row, base) for row in rows)
    told = [
        f"Scores of {scores.n:,} examples; ± is one standard error. Gained and lost are the"
        f" examples that {called} alone answers rightly, and that the other alone does. ECE takes"
        f" {scores.bins} {scores.binning} bins. Cost is that of inference, in single networks. Best"
        " values are marked."
    ]
    return Table(
        columns=columns,
        rows=cells,
        caption=" ".join([*told, *near_chance(rows)]),
        emphasis=tuple(i for i, row in enumerate(rows) if row is base),
    )


def score_chart(rows: Sequence[Candidate], against: str) -> Picture:
    """The candidates in the chart of score against cost; mapped members are left out."""
    return cost_chart(
        [
            Point(
                row.name,
                row.scores.accuracy,
                row.scores.accuracy_error,
                row.cost,
                "result" if row.name == against else row.kind,
            )
            for row in rows
            if row.kind != "mapped"
        ]
    )


def _cells(row: Candidate, base: Candidate) -> tuple[Cell, ...]:
    own, gap = row.scores, difference(base.scores, row.scores)
    gain: tuple[Cell, ...] = (None, None, None, None)
    if row is not base:
        counts: tuple[Cell, ...] = (gap.won, gap.lost) if gap.paired else (None, None)
        gain = (100 * gap.gain, 100 * gap.error, *counts)
    return (
        row.name,
        "; ".join(notes_of(row)),
        100 * own.accuracy,
        100 * own.accuracy_error,
        *gain,
        own.nll,
        100 * own.ece,
        own.brier,
        float(row.cost),
    )


__all__ = ["score_chart", "score_table"]
