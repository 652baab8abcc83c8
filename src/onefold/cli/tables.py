"""Tables in a terminal, or as plain lines where there is none.

A table fits the terminal: headings and texts are broken between words, numbers never are. Where
that does not help, every row becomes a few lines of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from onefold.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from onefold.report import Table

GAP = 2  # characters between columns
NAMED = 24  # characters of a name that are kept on one line
SHORT = {"inference cost": "cost (×)", "ECE": "ECE (%)"}
NOTE = "note"
ODD = ("near chance", "non-finite", "left out")  # notes with these words are always shown


def print_table(
    target: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    bold: Collection[int] = (),
) -> None:
    """Print a table, numbers aligned to the right. Without a terminal lines have any length.

    Args:
        target: where to.
        columns: the headings.
        rows: a text for each column, shown as it is.
        bold: the rows that are set in bold in a terminal.
    """
    columns = [printable(column) for column in columns]
    rows = [[printable(cell) for cell in row] for row in rows]
    numeric = [bool(index) and _is_numeric(rows, index) for index in range(len(columns))]
    widths = _widths(columns, rows, numeric, target.width) if target.is_terminal else None
    if target.is_terminal and widths is None:
        _print_rows(target, columns, rows)
    else:
        _print_grid(target, columns, rows, numeric, widths, bold)


def print_scores(
    target: Console, scores: Table, *, details: bool = False, hidden: Collection[str] = ()
) -> None:
    """Print a table of scores without its caption.

    Args:
        target: where to.
        scores: the table. In its short form it lacks the columns that are details, and errors
            stand behind the numbers before them.
        details: show all columns and rows.
        hidden: the names of rows that only details show.
    """
    kept = [k for k, row in enumerate(scores.rows) if details or row[0] not in hidden]
    cells = scores.plain()
    columns = [[cells[k][index] for k in kept] for index in range(len(scores.columns))]
    headings, heads = list(scores.headings), scores.columns
    if not details and any(head.detail for head in heads):
        odd = any(word in text for own in columns for text in own for word in ODD)
        shown = [
            i for i, head in enumerate(heads) if not head.detail or (odd and head.name == NOTE)
        ]
        for i in shown:
            if i + 1 < len(heads) and heads[i + 1].part == "error":
                pairs = zip(columns[i], columns[i + 1], strict=True)
                columns[i] = [
                    f"{own} ± {error}" if error[:1].isdigit() else own for own, error in pairs
                ]
        headings = [SHORT.get(heads[i].name, headings[i]) for i in shown]
        columns = [columns[i] for i in shown]
    rows = list(zip(*columns, strict=True)) if kept else []
    bold = [place for place, k in enumerate(kept) if k in scores.emphasis]
    print_table(target, headings, rows, bold)


def _print_grid(
    target: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numeric: Sequence[bool],
    widths: Sequence[int] | None,
    bold: Collection[int],
) -> None:
    """All rows under the headings; without widths as lines of any length."""
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    style: Any = box.Box("    \n    \n ── \n    \n    \n    \n    \n    \n")
    grid = Grid(
        box=style if widths else None,
        pad_edge=False,
        padding=(0, GAP - 1, 0, 0) if widths else (0, 1),  # and the box's own blank
        header_style="bold" if widths else "",
        show_edge=not widths,
    )
    for index, column in enumerate(columns):
        grid.add_column(
            Text(column),
            justify="right" if numeric[index] else "left",
            overflow="fold",
            no_wrap=not widths,
            width=widths[index] if widths else None,
            vertical="top",
        )
    for number, row in enumerate(rows):
        grid.add_row(*map(Text, row), style="bold" if widths and number in bold else None)
    target.print(grid)


def _is_numeric(rows: Sequence[Sequence[str]], index: int) -> bool:
    return all(row[index][:1] in "+-–0123456789" for row in rows)


def _widths(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], room: int
) -> list[int] | None:
    """The widths of the columns, so that no number and no word is broken.

    A name in the first column may be, if it is long. None if there is no room even so.
    """
    from rich.cells import cell_len

    whole = [
        max(map(cell_len, (heading, *(row[i] for row in rows))))
        for i, heading in enumerate(columns)
    ]
    least = [max(map(cell_len, heading.split()), default=0) for heading in columns]
    for i, number in enumerate(numeric):
        words = [part for row in rows for part in ([row[i]] if number else row[i].split())]
        longest = max(map(cell_len, words), default=0)
        least[i] = max(least[i], min(longest, NAMED) if i == 0 else longest)
    free = room - GAP * len(columns) - sum(least)
    if free < 0:
        return None
    for i in sorted(range(len(columns)), key=lambda i: (i > 0, whole[i] - least[i])):
        more = min(free, whole[i] - least[i])
        least[i], free = least[i] + more, free - more
    return least


def _print_rows(target: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Every row as its name, and a line for each of its other cells."""
    from rich.text import Text

    for row in rows:
        target.print(Text(row[0], style="bold"), overflow="fold")
        for heading, cell in zip(columns[1:], row[1:], strict=True):
            if cell:
                target.print(Text(f"  {heading}: {cell}"), overflow="fold")
