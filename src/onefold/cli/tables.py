"""Tables of a report in a terminal, or as plain lines where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from onefold.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from onefold.report import Column, Table

ESSENTIAL = ("network", "accuracy", "NLL", "ECE", "parameters", "inference cost")
NARROW = 150  # characters of a line, below which scores are shown in brief


def print_table(target: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, numbers aligned to the right. Without a terminal lines have any length.

    Args:
        target: where to.
        columns: the headings.
        rows: a text for each column, shown as it is.
    """
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    style: Any = box.SIMPLE_HEAD if target.is_terminal else None
    grid = Grid(box=style, pad_edge=False, header_style="bold" if target.is_terminal else "")
    for index, column in enumerate(columns):
        numbers = all(row[index][:1] in "+-–0123456789" for row in rows)
        grid.add_column(
            Text(printable(column)),
            justify="right" if numbers and index else "left",
            overflow="fold",
            no_wrap=not (index and target.is_terminal),
        )
    for row in rows:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    target.print(grid)


def print_scores(target: Console, scores: Table, *, brief: bool = False) -> None:
    """Print a table of scores without its caption.

    Args:
        target: where to.
        scores: as `comparison_table` makes it.
        brief: show only the most telling columns. A narrow terminal has no others.
    """
    if not brief and target.width >= NARROW:
        print_table(target, scores.headings, scores.plain())
        return
    shown = [i for i, column in enumerate(scores.columns) if column.name in ESSENTIAL]
    headings = [_brief(scores.columns[i]) for i in shown]
    print_table(target, headings, [[row[i] for i in shown] for row in scores.plain()])


def _brief(column: Column) -> str:
    """The heading with the first part of the unit, where it has one to tell."""
    if column.unit in ("", "number"):
        return column.name
    return f"{column.name} ({column.unit.split(',')[0]})"
