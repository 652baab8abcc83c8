"""Printing: results on standard output, notes and errors on standard error.

Without a terminal all of it is plain text.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from onefold.errors import Note
from onefold.finite import finite
from onefold.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from onefold.report import Table

_told: set[str] = set()
_details = False
LONGEST, SHOWN = 1000, 60  # characters of a word in an error; those that are shown of a longer one


def console(*, stderr: bool = False) -> Console:
    """A rich console that takes every text as it is, brackets and colons too.

    Where there is no terminal it is wide enough never to cut a line.
    """
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


def forget(*, details: bool = False) -> None:
    """Begin a command: nothing was told. details: tables show all of their columns and rows."""
    global _details
    _told.clear()
    _details = details


def error(text: str) -> None:
    """One red line on standard error; of what no path is as long as, the beginning."""
    words = (word if len(word) <= LONGEST else f"{word[:SHOWN]}..." for word in text.split())
    console(stderr=True).print(f"error: {printable(' '.join(words))}", style="red", soft_wrap=True)


def verdict(text: str) -> None:
    """A judgement on standard output. In a terminal each of its parts has a line of its own.

    Args:
        text: one sentence; its parts are separated by semicolons.
    """
    if not sys.stdout.isatty():
        say(text)
        return
    head, colon, rest = text.partition(": ")
    parts = rest.split("; ") if "; " in rest else []
    lines = [f"{head}{colon}", *(f"  - {part}" for part in parts)] if parts else [text]
    for line in lines:
        paragraph(line, indent=4 if line.startswith("  - ") else 0)


def paragraph(text: object, indent: int = 0) -> None:
    """A sentence on standard output, broken between words where there is a terminal."""
    target, whole = console(), str(text)
    if target.is_terminal:
        width = max(target.width, indent + 20)
        lines = textwrap.wrap(printable(whole), width, subsequent_indent=" " * indent)
        whole = "\n".join(lines)
    say(whole)


def table(rows: Table) -> None:
    """Print a table on standard output, without its caption."""
    from onefold.cli.tables import print_table

    print_table(console(), rows.headings, rows.plain())


def show(
    scores: Table, *, told: str = "", more: bool = False, hidden: Collection[str] = ()
) -> None:
    """Print a table of scores, and its caption: `told` as a note, what follows it as a warning.

    Args:
        scores: the table.
        told: the beginning of the caption that is no warning. Nothing is bold without a terminal.
        more: --details has more to show.
        hidden: the names of rows that are shown with --details alone.
    """
    from onefold.cli.tables import print_scores

    print_scores(console(), scores, details=_details, hidden=hidden)
    beside = [told] if told and console().is_terminal else []
    if more and not _details:
        beside.append("More columns and rows: --details.")
    if beside:
        note(" ".join(beside))
    if doubt := scores.caption.removeprefix(told).strip():
        warn(doubt)


def print_json(value: Any) -> None:
    """Plain data on standard output, as JSON; what does not print is escaped as JSON does it."""
    import json

    text = json.dumps(finite(value), indent=1, ensure_ascii=False)
    print("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))
