"""What a classifier gains and loses class by class, and what it takes for what.

Tasks without classes have none of this. Where an example has several positions with a class, as
the pixels of an image, positions are counted. They depend on one another, so that no gain is called
clear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from onefold.report import Candidate, Column, Grid, Section, Table
from onefold.report.blocks import Cell
from onefold.tasks.classes import ClassCounts

ALL = 30  # classes up to which each has a row
MOST = 10  # of the largest gains, and of the largest losses, if there are more classes
CONFUSED = 20  # classes up to which the confusion matrix is shown


def add_classes(
    section: Section, result: Candidate, best: Candidate, names: Sequence[str] = ()
) -> None:
    """The classes of a result beside the best single network, and its confusion matrix.

    Args:
        section: takes the blocks.
        result: the result.
        best: the network that it is compared with.
        names: of the classes in the order of their numbers; () numbers them.
    """
    own, other = result.scores.classes, best.scores.classes
    if own is None or other is None or len(own.examples) != len(other.examples):
        return
    what = "positions" if int(own.examples.sum()) > result.scores.n else "examples"
    section.table(class_table(own, other, result.name, best.name, names, what))
    if own.confusion is not None and len(own.seen) <= CONFUSED and len(own.examples) <= CONFUSED:
        section.grid(confusion_grid(own, result.name, names, what))


def class_table(
    own: ClassCounts,
    other: ClassCounts,
    name: str,
    best: str,
    names: Sequence[str] = (),
    what: str = "examples",
) -> Table:
    """Accuracy of both and what the first gains, for each class or for those that differ most.

    Args:
        own: the counts of the first.
        other: those of the network that it is compared with.
        name: of the first.
        best: of the other.
        names: of the classes; () numbers them.
        what: is counted, "examples" or "positions".
    """
    single = what == "examples"
    numbers = own.seen
    gains = {k: own.accuracy(k) - other.accuracy(k) for k in numbers}
    left = ""
    if len(numbers) > ALL:
        ranked = sorted(numbers, key=lambda k: -gains[k])
        numbers = [*ranked[:MOST], *ranked[-MOST:]]
        left = (
            f" The {MOST} classes of the largest gains and the {MOST} of the largest losses are"
            f" shown, of {len(own.seen)}."
        )
    rows: list[tuple[Cell, ...]] = [
        (
            named(k, names),
            int(own.examples[k]),
            100 * other.accuracy(k),
            100 * own.accuracy(k),
            100 * gains[k],
            *(["clear" if _clear(own, other, k) else ""] if single else []),
        )
        for k in numbers
    ]
    columns = (
        Column(name="class"),
        Column(name=what),
        Column(name=best, unit="% right", digits=1),
        Column(name=name, unit="% right", digits=1),
        Column(name="gain", unit="points", digits=1, signed=True, bars=True),
        *([Column(name="note", part="note")] if single else []),
    )
    clear = (
        " Gains marked as clear are larger than two standard errors of independent test sets; of"
        " many classes some are so by chance."
    )
    return Table(
        columns=columns, rows=tuple(rows), caption=f"Class by class.{clear if single else ''}{left}"
    )


def confusion_grid(
    own: ClassCounts, name: str, names: Sequence[str] = (), what: str = "examples"
) -> Grid:
    """Labels in rows, answers in columns."""
    assert own.confusion is not None
    shown = [named(k, names) for k in range(len(own.examples))]
    mistakes = own.confusion.clone().fill_diagonal_(0)
    return Grid(
        corner="label ↓ answer →",
        rows=tuple(shown),
        columns=tuple(shown),
        values=tuple(tuple(float(n) for n in row) for row in own.confusion.tolist()),
        digits=0,
        # right answers are so many that mistakes would have no shade
        high=max(2.0 * float(mistakes.max()), 1.0),
        caption=f"What is taken for what by {name}: {what} of each label (row) by answer (column).",
    )


def named(number: int, names: Sequence[str]) -> str:
    """A class by its name, or by its number."""
    return names[number] if number < len(names) else str(number)


def _clear(own: ClassCounts, other: ClassCounts, number: int) -> bool:
    first, second, count = own.accuracy(number), other.accuracy(number), int(own.examples[number])
    error = math.sqrt((first * (1 - first) + second * (1 - second)) / count)
    return abs(first - second) > 2 * error if error else first != second and count > 1
