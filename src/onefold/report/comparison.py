"""A result compared with its baselines, as a table and as one sentence.

The baselines are the members, the best member, the ensemble and the plain average.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from onefold.errors import DataError
from onefold.measure.paired import Difference, difference
from onefold.report.blocks import Cell, Column, Table
from onefold.report.score_words import (
    about_accuracy,
    capital,
    cells_of,
    check_alike,
    columns_of,
    points,
)
from onefold.tasks.scores import Scores

NOTE = "note"
Kind = Literal["result", "member", "ensemble", "mapped", "other"]


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
    """Candidates as a table of all scores of their task and metrics, of size and of cost.

    The score that decides comes first, with its standard error. Rows near chance say so in their
    note, and the caption says what to check (`near_chance`).

    Args:
        candidates: one for each row.
        emphasis: the names that are set in bold; None takes the best, on a tie the one of lower
            loss, whatever it is.
        against: the name of the candidate with which all others are compared example by example.
            The table then has two columns more: what the other is better by in the score that
            decides (below 0: worse), and its paired standard error. None leaves them out.
        caption: a sentence below the table.

    Raises:
        DataError: there is no candidate, none is named `against`, the candidates' scores are of
            different tasks, or their calibration errors come from different bins.
    """
    rows = [Candidate(*candidate) for candidate in candidates]
    if not rows:
        raise DataError("There is nothing to compare; pass at least one candidate.")
    check_alike([(row.name, row.scores) for row in rows])
    if len({(row.scores.bins, row.scores.binning) for row in rows}) > 1:
        raise DataError(
            "The candidates' calibration errors come from different bins; score all with the same"
            " bins and binning."
        )
    kind = rows[0].scores.kind
    paired: tuple[Column, ...] = ()
    if against is not None:
        # Of scores of which less is better a difference would be read the wrong way round.
        turned = kind.highest is False
        name = f"gain over {against}" if turned else f"difference to {against}"
        style: dict[str, Any] = {"unit": points(kind), "digits": kind.digits}
        paired = (
            Column(name=name, signed=turned, **style),
            Column(name="its standard error, paired", part="error", detail=True, **style),
        )
    columns = (
        Column(name="network"),
        *columns_of(rows[0].scores),
        *paired,
        Column(name="examples", unit="number", detail=True),
        Column(name="parameters", unit="number", detail=True),
        Column(name="inference cost", unit="× one member", digits=2),
        Column(name=NOTE, detail=True),
    )
    gaps = [()] * len(rows) if against is None else _against(rows, against)
    cells = [
        (
            row.name,
            *cells_of(row.scores),
            *gap,
            row.scores.n,
            row.parameters,
            float(row.cost),
            "; ".join(notes_of(row)),
        )
        for row, gap in zip(rows, gaps, strict=True)
    ]
    bold = best_names(rows) if emphasis is None else emphasis
    caption = " ".join([caption, *near_chance(rows)]).strip()
    return Table(
        columns=columns,
        rows=tuple(cells),
        caption=caption,
        emphasis=tuple(i for i, row in enumerate(rows) if row.name in bold),
    )


def best_names(rows: Sequence[Candidate]) -> list[str]:
    """The names of the rows of the best deciding score, on a tie those of lowest loss.

    There are several if they are equal in both.
    """
    top = max(row.scores.rank for row in rows)
    return [row.name for row in rows if row.scores.rank == top]


def near_chance(rows: Sequence[Candidate]) -> list[str]:
    """Sentences on what to check if rows are near chance.

    There is one for each row whose classes another numbering would fit far better. Without such
    rows there is one if all rows are near chance, by the hint of the best one. A single
    row near chance is no sign of wrong data, since the same data suit the others.
    """
    told = [
        f"{row.name[:1].upper()}{row.name[1:]}: {row.scores.hint}."
        for row in rows
        if row.scores.renumbered is not None
    ]
    if told or not rows or not all(row.scores.hint for row in rows):
        return told
    best = max(rows, key=lambda row: row.scores.rank[0])
    return [
        f"No network here is better than chance; {best.name}, the best of them: {best.scores.hint}."
    ]


def verdict(result: Candidate, baselines: Sequence[Candidate]) -> str:
    """One sentence that says if the result is better than each baseline in what decides.

    Scores of the same examples are compared example by example (`paired.py`). A difference that
    chance gives as often as two standard errors is called no clear difference. Scores of other
    examples, or without single answers, are compared as those of independent test sets, and the
    sentence says so.

    Args:
        result: the network in question.
        baselines: the networks and ensembles to compare it with.

    Raises:
        DataError: there is no baseline, or the scores are of different tasks.
    """
    if not baselines:
        raise DataError("There is no baseline to compare with; pass at least one.")
    check_alike([(row.name, row.scores) for row in (result, *baselines)])
    clauses = [_clause(other.name, difference(result.scores, other.scores)) for other in baselines]
    return f"{capital(result.name)}: {'; '.join(clauses)}."


def paired_rows(scores: Sequence[Scores], base: int) -> list[dict[str, Any]]:
    """Every network's difference to one of them, as plain data for JSON.

    Args:
        scores: of the networks, on the same examples.
        base: the number of the network with which all are compared.
    """
    return [difference(own, scores[base]).to_dict() for own in scores]


def _clause(name: str, gap: Difference) -> str:
    """The part of the verdict on one baseline."""
    kind = gap.kind
    if nothing_apart(gap):
        alike = "the same answers as"
        if not gap.same:
            alike = f"the same {'answers right and wrong' if gap.single else kind.label} as"
        return f"{alike} {name} ({kind.difference(0.0)}, standard error {0:.{kind.digits}f})"
    if not gap.clear:
        return f"not clearly different from {name} ({gap})"
    amount = kind.difference(abs(gap.gain)).removeprefix("+")
    if about_accuracy(kind):
        more = "more" if gap.gain > 0 else "less"
        return f"{more} accurate than {name} by {amount} ({gap.errors})"
    better = "better" if gap.gain > 0 else "worse"
    return f"{better} than {name} by {amount} in {kind.label} ({gap.errors})"


def nothing_apart(gap: Difference) -> bool:
    """Whether every example contributes the same to both, as far as the deciding score goes."""
    return gap.level and (gap.single or gap.error == 0)


def _against(rows: Sequence[Candidate], name: str) -> list[tuple[Cell, Cell]]:
    """What every row is better by than the named one, and the paired standard error of that.

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
        scale = own.kind.scale
        error = scale * own.error if own.paired else None
        cells.append((None, None) if row is base else (scale * own.gain, error))
    return cells


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
