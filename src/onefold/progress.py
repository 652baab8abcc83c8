"""Progress of long work on standard error: bars with the remaining time on a terminal.

Elsewhere it is silent, as it is after `onefold.progress.show(False)` and where the environment
holds ONEFOLD_PROGRESS=0. What was waited for, and how long, goes to the logger `onefold` in any
case, of which nothing is seen unless a program asks for it:

    logging.basicConfig(); logging.getLogger("onefold").setLevel(logging.INFO)
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from onefold.printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")
LOG = logging.getLogger("onefold")
LOG.addHandler(logging.NullHandler())
VARIABLE, OFF = "ONEFOLD_PROGRESS", ("0", "false", "no", "off")
SOON = 0.5  # seconds; what is done before is not shown
_shown = True


def show(on: bool = True) -> None:
    """Show bars from here on, or none.

    Args:
        on: whether bars are shown where there is a terminal.
    """
    global _shown
    _shown = bool(on)


def is_shown() -> bool:
    """Whether a bar that begins now is shown."""
    stream = sys.stderr  # None in a program without a console
    if not _shown or os.environ.get(VARIABLE, "").strip().lower() in OFF:
        return False
    return stream is not None and not stream.closed and stream.isatty()


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` while a bar shows `description` and how many items are done.

    Args:
        items: anything iterable.
        description: text beside the bar.
        total: number of items; None for len(items), if it has one.
    """
    with bar(description, length_of(items) if total is None else total) as work:
        for item in items:
            yield item
            work.step()


@contextmanager
def waiting(description: str) -> Iterator[None]:
    """A block of work that cannot be counted: the seconds that it has taken are shown.

    Args:
        description: text beside the seconds.
    """
    with bar(description, None, counted=False):
        yield


@contextmanager
def bar(description: str, total: int | None, *, counted: bool = True) -> Iterator[Work]:
    """A bar for a block that counts its steps itself.

    Args:
        description: text beside the bar.
        total: number of steps; None if it is not known.
        counted: whether there are steps at all.
    """
    start = time.perf_counter()
    work = Work()
    if is_shown():
        work = _display.begin(printable(description), total, counted)
    try:
        yield work
    finally:
        work.end()
        level = logging.DEBUG if counted else logging.INFO
        LOG.log(level, "%s: %.2f s", description, time.perf_counter() - start)


class Work:
    """One piece of work that is waited for, here one that nobody is shown."""

    is_shown = False

    def step(self, text: str = "") -> None:
        """One step more is done. text: what is said beside the bar, such as a loss."""

    def end(self) -> None:
        """The work is done."""


class _Shown(Work):
    is_shown = True

    def __init__(self, progress: Progress, task: Any) -> None:
        self.progress, self.task = progress, task

    def step(self, text: str = "") -> None:
        fields: dict[str, Any] = {"text": printable(text)} if text else {}
        self.progress.update(self.task, advance=1, **fields)

    def end(self) -> None:
        _display.end(self.task)


class _Display:
    """All bars at a time, one below the other: work may wait for work."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.progress: Progress | None = None

    def begin(self, description: str, total: int | None, counted: bool) -> Work:
        with self.lock:
            if self.progress is None:
                self.progress = _progress()
                self.progress.start()
            task = self.progress.add_task(description, total=total, text="", counted=counted)
            return _Shown(self.progress, task)

    def end(self, task: Any) -> None:
        with self.lock:
            if self.progress is None:
                return
            self.progress.remove_task(task)
            if not self.progress.tasks:
                self.progress.stop()
                self.progress = None


_display = _Display()


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.table import Table
    from rich.text import Text

    class Count(ProgressColumn):
        def render(self, task: Task) -> Text:
            done = f"{task.completed:.0f}"
            whole = f"{done}/{task.total:.0f}" if task.total is not None else done
            return Text(whole if task.fields["counted"] else "", style="progress.download")

    class Time(ProgressColumn):
        max_refresh = 0.5

        def render(self, task: Task) -> Text:
            left = task.time_remaining if task.total is not None else None
            if left is None:
                return Text(f"{_clock(task.elapsed or 0)} so far", style="progress.elapsed")
            return Text(f"{_clock(left)} left", style="progress.remaining")

    class Patient(Progress):
        """What has just begun is not shown yet, as most of it is over at once."""

        def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
            return super().make_tasks_table([t for t in tasks if (t.elapsed or 0) >= SOON])

    return Patient(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        Count(),
        Time(),
        TextColumn("{task.fields[text]}", markup=False),
        console=Console(stderr=True),
        transient=True,
        # What is printed into a file meanwhile goes there, and not above the bars.
        redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
    )


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def length_of(items: Iterable[object]) -> int | None:
    """len(items); None if that is not known, as of a loader of streamed data."""
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        return None
