"""A result compared with its baselines, as a table and as one sentence.

The baselines are the members, the best member, the ensemble and the plain average.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from onefold.errors import DataError
from onefold.measure.paired import Difference, difference
from onefold.measure.scores import Scores
from onefold.report.blocks import Cell, Column, Table

Kind = Literal["result", "member", "ensemble", "mapped", "other"]
PAIRED_AT = 6  # number of columns before those of the paired differences


class Candidate(NamedTuple):
    """One row of a comparison: a network or an ensemble.

    Attributes:
        name: its name.
        scores: its scores.
        parameters: its number of parameters.
        cost: its inference cost, in units of one member's.
        note: further words, or "".
        kind: what it is, for a page.
    """

    name: str
    scores: Scores
    parameters: int
    cost: float
    note: str = ""
    kind: Kind = "other"


def comparison_table(
    candidates: Iterable[Candidate | tuple[str, Scores, int, float, str]],
    *,
    emphasis: Sequence[str] | None = None,
    against: str | None = None,
    caption: str = "",
) -> Table:
    """Candidates as a table of accuracy, NLL, ECE, Brier score, size and cost.

    Rows near chance say so in their note, and the caption says what to check (`near_chance`).

    Args:
        candidates: one for each row.
        emphasis: the names that are set in bold; None takes the most accurate, on a tie the one of
            lower NLL, whatever it is.
        against: the name of the candidate with which all others are compared example by example.
            The table then has two columns more: the difference of accuracies (the other's less the
            candidate's) and its paired standard error. None leaves them out.
        caption: a sentence below the table.

    Raises:
        DataError: there is no candidate, none is named `against`, or the candidates' calibration
            errors come from different bins and cannot be compared.
    """
    rows = [Candidate(*candidate) for candidate in candidates]
    if not rows:
        raise DataError("There is nothing to compare; pass at least one candidate.")
    binnings = {(row.scores.bins, row.scores.binning) for row in rows}
    if len(binnings) > 1:
        raise DataError(
            "The candidates' calibration errors come from different bins; score all with the same"
            " bins and binning."
        )
    bins, binning = binnings.pop()
    columns = [
        Column(name="network"),
        Column(name="accuracy", unit="%", digits=2),
        Column(name="standard error", unit="points", digits=2),
        Column(name="NLL", unit="nats", digits=4),
        Column(name="ECE", unit=f"%, {bins} {binning} bins", digits=2),
        Column(name="Brier score", unit="0 to 2", digits=4),
        Column(name="examples", unit="number"),
        Column(name="parameters", unit="number"),
        Column(name="inference cost", unit="× one member", digits=2),
        Column(name="note"),
    ]
    cells = [_cells(row) for row in rows]
    if against is not None:
        columns[PAIRED_AT:PAIRED_AT] = [
            Column(name=f"difference to {against}", unit="points", digits=2),
            Column(name="its standard error, paired", unit="points", digits=2),
        ]
        cells = [
            (*own[:PAIRED_AT], *paired, *own[PAIRED_AT:])
            for own, paired in zip(cells, _against(rows, against), strict=True)
        ]
    bold = best_names(rows) if emphasis is None else emphasis
    caption = " ".join([caption, *near_chance(rows)]).strip()
    return Table(
        columns=tuple(columns),
        rows=tuple(cells),
        caption=caption,
        emphasis=tuple(i for i, row in enumerate(rows) if row.name in bold),
    )


def best_names(rows: Sequence[Candidate]) -> list[str]:
    """The names of the most accurate rows, on a tie those of lowest NLL.

    There are several if they are equal in both.
    """
    top = max((row.scores.accuracy, -row.scores.nll) for row in rows)
    return [row.name for row in rows if (row.scores.accuracy, -row.scores.nll) == top]


def near_chance(rows: Sequence[Candidate]) -> list[str]:
    """Sentences on what to check if rows are near chance.

    There is one for each row whose classes another numbering would fit far better. Without such
    rows there is one if all rows are near chance, by the hint of the most accurate one. A single
    row near chance is no sign of wrong data, since the same data suit the others.
    """
    told = [
        f"{row.name[:1].upper()}{row.name[1:]}: {row.scores.hint}."
        for row in rows
        if row.scores.renumbered is not None
    ]
    if told or not rows or not all(row.scores.hint for row in rows):
        return told
    best = max(rows, key=lambda row: row.scores.accuracy)
    return [
        f"No network here is better than chance; {best.name}, the best of them: {best.scores.hint}."
    ]


def verdict(result: Candidate, baselines: Sequence[Candidate]) -> str:
    """One sentence that says if the result is more accurate than each baseline.

    Scores of the same examples are compared example by example (`paired.py`). A difference that
    chance gives as often as two standard errors is called no clear difference. Scores of other
    examples, or without single answers, are compared as those of independent test sets, and the
    sentence says so.

    Args:
        result: the network in question.
        baselines: the networks and ensembles to compare it with.

    Raises:
        DataError: there is no baseline.
    """
    if not baselines:
        raise DataError("There is no baseline to compare with; pass at least one.")
    clauses = [_clause(other.name, difference(result.scores, other.scores)) for other in baselines]
    return f"{result.name[:1].upper()}{result.name[1:]}: {'; '.join(clauses)}."


def paired_rows(scores: Sequence[Scores], base: int) -> list[dict[str, Any]]:
    """Every network's difference to one of them, as plain data for JSON.

    Args:
        scores: of the networks, on the same examples.
        base: the number of the network with which all are compared.
    """
    return [difference(own, scores[base]).to_dict() for own in scores]


def _clause(name: str, gap: Difference) -> str:
    """The part of the verdict on one baseline."""
    if gap.paired and not gap.won and not gap.lost:
        kind = "the same answers as" if gap.same else "the same answers right and wrong as"
        return f"{kind} {name} (+0.00 percentage points, standard error 0.00)"
    if not gap.clear:
        return f"not clearly different from {name} ({gap})"
    more = "more" if gap.gain > 0 else "less"
    text = str(gap).partition("percentage points, ")[2]
    return f"{more} accurate than {name} by {100 * abs(gap.gain):.2f} percentage points ({text})"


def _against(rows: Sequence[Candidate], name: str) -> list[tuple[Cell, Cell]]:
    """Every row's difference to the named one, in points, and its paired standard error.

    There is no error if the two cannot be paired, and neither number for the named row.
    """
    base = next((row for row in rows if row.name == name), None)
    if base is None:
        raise DataError(
            f"There is no candidate named '{name}' to hold the others against; name one of the"
            " rows."
        )
    cells: list[tuple[Cell, Cell]] = []
    for row in rows:
        own = difference(row.scores, base.scores)
        error = 100 * own.error if own.paired else None
        cells.append((None, None) if row is base else (100 * own.gain, error))
    return cells


def _cells(row: Candidate) -> tuple[Cell, ...]:
    """The cells of a row without paired differences."""
    scores = row.scores
    return (
        row.name,
        100 * scores.accuracy,
        100 * scores.accuracy_error,
        scores.nll,
        100 * scores.ece,
        scores.brier,
        scores.n,
        row.parameters,
        float(row.cost),
        "; ".join(notes_of(row)),
    )


def notes_of(row: Candidate) -> list[str]:
    """What is to be known of a row: its own note, and what was odd about its scores."""
    scores = row.scores
    notes = [row.note] * bool(row.note)
    if scores.nonfinite:
        notes.append(f"{scores.nonfinite} examples with non-finite outputs, counted as wrong")
    if scores.hint:
        notes.append(scores.hint.split(" (")[0].split(":")[0])
    if scores.ignored:
        notes.append(f"{scores.ignored} labels that are no class left out")
    return notes
