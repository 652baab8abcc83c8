"""Printing: results on standard output, notes and errors on standard error.

Without a terminal all of it is plain text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from onefold.errors import Note
from onefold.finite import finite
from onefold.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from onefold.report import Table

_told: set[str] = set()
LONGEST, SHOWN = 1000, 60  # characters of a word in an error; those that are shown of a longer one


def console(*, stderr: bool = False) -> Console:
    """A rich console that takes every text as it is, brackets and colons too.

    Where there is no terminal it is wide enough never to cut a line.
    """
    import sys

    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream,
        width=None if stream.isatty() else 1000,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not stream.isatty(),
    )


def say(text: object = "") -> None:
    """One result, on standard output, as it is."""
    console().print(printable(str(text), lines=True), soft_wrap=True)


def note(text: str, *, warning: bool = False) -> None:
    """What goes on, on standard error; as a warning, what is in doubt of it."""
    if warning:
        warn(text)
    else:
        _told.add(text)
        console(stderr=True).print(printable(text), style="dim", soft_wrap=True)


def warn(text: str) -> None:
    """Something to know, on standard error, in yellow; each text once for a command."""
    if text not in _told:
        _told.add(text)
        console(stderr=True).print(f"warning: {printable(text)}", style="yellow", soft_wrap=True)


def tell(texts: Iterable[str]) -> None:
    """Warnings, and notes among them as such; each text once for a command."""
    for text in texts:
        if text not in _told:
            note(text, warning=not isinstance(text, Note))


def forget() -> None:
    """Begin a command: nothing was told."""
    _told.clear()


def error(text: str) -> None:
    """One red line on standard error; of what no path is as long as, the beginning."""
    words = (word if len(word) <= LONGEST else f"{word[:SHOWN]}..." for word in text.split())
    console(stderr=True).print(f"error: {printable(' '.join(words))}", style="red", soft_wrap=True)


def table(rows: Table) -> None:
    """Print a table on standard output, without its caption."""
    from onefold.cli.tables import print_table

    print_table(console(), rows.headings, rows.plain())


def show(scores: Table, *, brief: bool = False, told: str = "") -> None:
    """Print a table of scores, and its caption: `told` as a note, what follows it as a warning.

    If `brief`, or if the terminal is narrow, only the most telling columns are shown.
    """
    from onefold.cli.tables import print_scores

    print_scores(console(), scores, brief=brief)
    if told:
        note(told)
    if doubt := scores.caption.removeprefix(told).strip():
        warn(doubt)


def print_json(value: Any) -> None:
    """Plain data on standard output, as JSON; what does not print is escaped as JSON does it."""
    import json

    text = json.dumps(finite(value), indent=1, ensure_ascii=False)
    print("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))
