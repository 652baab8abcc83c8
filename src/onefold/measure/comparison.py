"""The result beside what it must be compared with: members, best member, ensemble, plain average; as a table and as one honest sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from onefold.errors import DataError
from onefold.measure.report import Cell, Column, Table
from onefold.measure.scores import Scores


class Candidate(NamedTuple):
    """One row of a comparison: a network or ensemble, its scores, its number of parameters, its inference cost in units of one member's."""

    name: str
    scores: Scores
    parameters: int
    cost: float
    note: str = ""


def comparison_table(
    candidates: Iterable[Candidate | tuple[str, Scores, int, float, str]], *, emphasis: Sequence[str] = (), caption: str = ""
) -> Table:
    """Candidates as a table of accuracy, NLL, ECE, Brier score, size and cost; the names in `emphasis` are set in bold.

    Rows near chance say so in their note, and the caption says what to check (`near_chance`).

    Raises:
        DataError: there is no candidate, or the candidates' calibration errors come from different bins and cannot be compared.
    """
    rows = [Candidate(*candidate) for candidate in candidates]
    if not rows:
        raise DataError("There is nothing to compare; pass at least one candidate.")
    binnings = {(row.scores.bins, row.scores.binning) for row in rows}
    if len(binnings) > 1:
        raise DataError("The candidates' calibration errors come from different bins; score all with the same bins and binning.")
    bins, binning = binnings.pop()
    columns = (
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
    )
    cells = tuple(_cells(row) for row in rows)
    caption = " ".join([caption, *near_chance(rows)]).strip()
    return Table(columns=columns, rows=cells, caption=caption, emphasis=tuple(i for i, row in enumerate(rows) if row.name in emphasis))


def near_chance(rows: Sequence[Candidate]) -> list[str]:
    """What to check, one sentence each: where all rows are near chance, by the hint of the most accurate one, and for each row whose classes
    another numbering would fit far better. A single row near chance is no sign of wrong data: the same data suit the others."""
    told = [f"{row.name[:1].upper()}{row.name[1:]}: {row.scores.hint}." for row in rows if row.scores.renumbered is not None]
    if told or not rows or not all(row.scores.hint for row in rows):
        return told
    best = max(rows, key=lambda row: row.scores.accuracy)
    return [f"No network here is better than chance; {best.name}, the best of them: {best.scores.hint}."]


def verdict(result: Candidate, baselines: Sequence[Candidate]) -> str:
    """One sentence that says whether the result is more accurate than each baseline.

    Differences below two standard errors are called no clear difference. The errors are those of independent test sets; on one shared test
    set the true error of a difference is usually smaller, so that this errs on the careful side.

    Raises:
        DataError: there is no baseline.
    """
    if not baselines:
        raise DataError("There is no baseline to compare with; pass at least one.")
    clauses = []
    for other in baselines:
        gain = 100 * (result.scores.accuracy - other.scores.accuracy)
        error = 100 * math.hypot(result.scores.accuracy_error, other.scores.accuracy_error)
        if gain == 0 or abs(gain) < 2 * error:
            clauses.append(f"not clearly different from {other.name} ({gain:+.2f} percentage points, standard error {error:.2f})")
        else:
            claim = "more" if gain > 0 else "less"
            clauses.append(f"{claim} accurate than {other.name} by {abs(gain):.2f} percentage points (standard error {error:.2f})")
    return f"{result.name[:1].upper()}{result.name[1:]}: {'; '.join(clauses)}."


def _cells(row: Candidate) -> tuple[Cell, ...]:
    scores = row.scores
    note = row.note
    if scores.nonfinite:
        note = f"{note}; " * bool(note) + f"{scores.nonfinite} examples with non-finite outputs, counted as wrong"
    if scores.hint:
        note = f"{note}; " * bool(note) + scores.hint.split(" (")[0].split(":")[0]
    if scores.ignored:
        note = f"{note}; " * bool(note) + f"{scores.ignored} labels that are no class left out"
    accuracy, error, ece = 100 * scores.accuracy, 100 * scores.accuracy_error, 100 * scores.ece
    return (row.name, accuracy, error, scores.nll, ece, scores.brier, scores.n, row.parameters, float(row.cost), note)
