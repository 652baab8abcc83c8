"""A progress bar for long work, on standard error: rich on a terminal, silent elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from onefold.printable import printable

T = TypeVar("T")


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` while a bar shows `description` and how many items are done.

    Args:
        items: anything iterable.
        description: text beside the bar.
        total: number of items; None for len(items), if it has one.
    """
    import sys

    shown = sys.stderr  # None in a program without a console
    if shown is None or shown.closed or not shown.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    total = length_of(items) if total is None else total
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(items, total=total, description=printable(description))


def length_of(items: Iterable[object]) -> int | None:
    """len(items); None if that is not known, as of a loader of streamed data."""
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        return None
