"""What the commands print with: results on standard output, notes and errors on standard error; plain text where there is no terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def console(*, stderr: bool = False) -> Console:
    """A rich console; wide enough never to wrap a table where there is no terminal."""
    import sys

    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else 200, highlight=False, soft_wrap=not stream.isatty())


def say(text: object = "") -> None:
    """One result, on standard output, as it is."""
    console().print(str(text), markup=False, soft_wrap=True)


def note(text: str) -> None:
    """What goes on, on standard error."""
    console(stderr=True).print(text, markup=False, style="dim", soft_wrap=True)


def warn(text: str) -> None:
    """Something to know, on standard error, in yellow."""
    console(stderr=True).print(f"warning: {text}", markup=False, style="yellow", soft_wrap=True)


def error(text: str) -> None:
    """One red line on standard error."""
    console(stderr=True).print("error: " + " ".join(text.split()), markup=False, style="red", soft_wrap=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None, left: int = 1) -> None:
    """Print a table on standard output; the first `left` columns are text, the others are aligned to the right."""
    from rich import box
    from rich.table import Table

    target = console()
    style: Any = box.SIMPLE_HEAD if target.is_terminal else None
    shown = Table(title=title, title_justify="left", box=style, pad_edge=False, header_style="bold" if target.is_terminal else "")
    for index, column in enumerate(columns):
        shown.add_column(column, justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        shown.add_row(*(str(cell) for cell in row))
    target.print(shown, soft_wrap=False)


def print_json(value: Any) -> None:
    """Plain data on standard output, as JSON."""
    import json

    print(json.dumps(value, indent=1, ensure_ascii=False))
