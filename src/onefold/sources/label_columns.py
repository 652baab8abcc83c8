"""Values of label columns as labels: class numbers, class names, numbers, several at once.

Whole numbers are class numbers, other numbers are those of a regression, and texts are names of
classes. What they are is told by all values of the training split and of the wanted one, so that a
part of the data has the same labels as the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from onefold.errors import DataError, nearest
from onefold.sources.class_names import renumbered, wanted_classes
from onefold.sources.data import Request, class_labels

USUAL = ("label", "labels", "class", "target", "y", "category", "sentiment", "score")
WORDS = {"true": 1, "false": 0}
MOST = 1_000_000  # classes


@dataclass(frozen=True)
class Labels:
    """Labels of rows.

    Attributes:
        values: (n,) int64 class numbers, (n,) or (n, k) float32 numbers, or (n, k) int64 of 0 and 1
            for several classes at once.
        classes: number of classes; None of a regression.
        names: of the classes in the order of their numbers; () if they are not known.
    """

    values: Tensor
    classes: int | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelColumn:
    """One column of labels.

    Attributes:
        name: of the column.
        values: of the wanted rows.
        training: all values of the training split, which give names their numbers; () if they are
            not needed.
        others: further values, which tell whether all are numbers, and the largest.
        where: says where a wanted row is, for errors.
        known: names of the classes that the data set tells itself; () if it tells none.
        header: whether the column has its name from the file.
    """

    name: str
    values: Sequence[Any]
    training: Iterable[Any]
    where: Callable[[int], str]
    others: Iterable[Any] = ()
    known: tuple[str, ...] = ()
    header: bool = True


def one_column(column: LabelColumn, request: Request) -> Labels:
    """The labels in one column.

    Options: classes=NAME,NAME gives names their order, or class numbers their names;
    regression=true makes numbers of whole numbers.

    Raises:
        DataError: a row has no label or an unknown class, or numbers are none.
        SettingError: `classes` lacks a class.
    """
    check_given(column)
    every = (*column.values, *column.training, *column.others)
    everything = [value for value in every if not is_missing(value)]
    _check_kinds(column)
    numbers = [as_number(value) for value in everything]
    regression = bool(request.name.options.get("regression", False))
    folder = request.name.path if request.name.path.is_dir() else request.name.path.parent
    wanted = wanted_classes(request.name, folder)
    all_numbers = all(number is not None for number in numbers)
    _check_no_header(column, request)
    if wanted is None and not all_numbers:
        _check_few_numbers(column, numbers)
    if regression or (all_numbers and any(type(number) is float for number in numbers)):
        if wanted is not None:
            raise DataError(
                f"The labels of '{request.name.text}' are numbers and no classes; leave out"
                " classes."
            )
        return Labels(torch.tensor(_numbers(column), dtype=torch.float32))
    if all_numbers:
        return _numbered(column, [int(n) for n in numbers if n is not None], wanted, request)
    return _named(column, wanted, request)


def _numbered(
    column: LabelColumn, everything: list[int], wanted: tuple[str, ...] | None, request: Request
) -> Labels:
    values = [int(as_number(value) or 0) for value in column.values]
    if wanted is not None and all(str(number) in wanted for number in everything):
        chosen = [wanted.index(str(value)) for value in values]
        return Labels(torch.tensor(chosen, dtype=torch.int64), len(wanted), wanted)
    large = next((row for row, value in enumerate(values) if value >= MOST), None)
    if large is not None:
        raise DataError(
            f"The label {values[large]} in {column.where(large)} is too large for a class number;"
            " number the classes from 0, or add regression=true if labels are to be predicted as"
            " numbers."
        )
    labels = class_labels(torch.tensor(values, dtype=torch.int64), request)
    count = max(1 + max(everything, default=-1), len(column.known))
    own = column.known if len(column.known) == count else ()
    if wanted is not None and not own and len(wanted) >= count and not _any_number(wanted):
        return Labels(labels, len(wanted), wanted)
    if wanted is not None:
        labels, own = renumbered(
            labels, own or [str(k) for k in range(count)], wanted, request.name
        )
        count = len(own)
    return Labels(labels, count, own)


def _any_number(names: Iterable[str]) -> bool:
    return any(as_number(name) is not None for name in names)


def _named(column: LabelColumn, wanted: tuple[str, ...] | None, request: Request) -> Labels:
    values = [str(value).strip() for value in column.values]
    training = {str(value).strip() for value in column.training if not is_missing(value)}
    own = sorted(training or set(values))
    names = wanted or tuple(own)
    if wanted is not None:
        renumbered(torch.zeros(0, dtype=torch.int64), own, wanted, request.name)  # refuses lacks
    numbers = {name: index for index, name in enumerate(names)}
    for row, value in enumerate(values):
        if value not in numbers:
            raise DataError(
                f"The label '{value[:60]}' in {column.where(row)} is no class of the training"
                f" split; {nearest(value, names)}"
            )
    return Labels(torch.tensor([numbers[v] for v in values], dtype=torch.int64), len(names), names)


def several_columns(columns: Sequence[LabelColumn], request: Request) -> Labels:
    """The labels in several columns: of 0 and 1 a class each, else numbers.

    Raises:
        DataError: a row has no label, or one that is no number.
        SettingError: the option `classes` is given.
    """
    if "classes" in request.name.options:
        raise DataError(
            f"The label columns of '{request.name.text}' are its classes; leave out classes."
        )
    rows = [_numbers(column) for column in columns]
    others: list[Any] = []
    for column in columns:
        others += [*column.training, *column.others]
    found: list[Any] = [number for row in rows for number in row]
    found += [as_number(value) for value in others if not is_missing(value)]
    values = torch.tensor(rows, dtype=torch.float32).T.contiguous()
    regression = bool(request.name.options.get("regression", False))
    if not regression and all(one in (0, 1) for one in found):
        return Labels(values.long(), len(columns), tuple(column.name for column in columns))
    return Labels(values)


def check_given(column: LabelColumn) -> None:
    """Refuse a wanted row without a label. Raises DataError."""
    for row, value in enumerate(column.values):
        if is_missing(value):
            raise DataError(
                f"The label '{column.name}' is missing in {column.where(row)}; give one, or leave"
                " the row out."
            )


def _check_kinds(column: LabelColumn) -> None:
    """Refuse a wanted row whose label is of a kind that no label has."""
    for row, value in enumerate(column.values):
        wrong = isinstance(value, float) and not math.isfinite(value)
        if wrong or not isinstance(value, str | bool | int | float):
            raise DataError(
                f"The label '{column.name}' in {column.where(row)} is {str(value)[:60]!r}; it must"
                " be a number or the name of a class."
            )


def _check_few_numbers(column: LabelColumn, numbers: Sequence[int | float | None]) -> None:
    """Refuse a value that is no number where most are, as "NA"."""
    if 2 * sum(number is not None for number in numbers) <= len(numbers):
        return
    for row, value in enumerate(column.values):
        if as_number(value) is None:
            raise DataError(
                f"The label '{str(value)[:60]}' in {column.where(row)} is no number, but most"
                " others are; put it right, leave the row out, or name all classes by classes=."
            )
    raise DataError(
        f"Most labels in column '{column.name}' are numbers, but not all; put the others right, or"
        " name all classes by classes=."
    )


def _check_no_header(column: LabelColumn, request: Request) -> None:
    """Refuse a header that was read as a row."""
    if column.header or request.skip or len(column.values) < 2:
        return
    first, *rest = column.values
    alone = as_number(first) is None and all(as_number(one) is not None for one in rest)
    if alone or (str(first).lower() in USUAL and first not in rest):
        raise DataError(
            f"The label in {column.where(0)} is '{str(first)[:40]}', so the line looks like a"
            " header; add header=true, or give the columns by their names."
        )


def _numbers(column: LabelColumn) -> list[float]:
    check_given(column)
    found = []
    for row, value in enumerate(column.values):
        number = as_number(value)
        if number is None:
            raise DataError(
                f"The label '{str(value)[:60]}' of column '{column.name}' in {column.where(row)} is"
                " no number; put it right, or name another column."
            )
        found.append(float(number))
    return found


def as_number(value: Any) -> int | float | None:
    """An int, a float, or None of what is no finite number."""
    if isinstance(value, str):
        text = value.strip().lower()
        for kind in (int, float):
            try:
                number = kind(text) if "_" not in text else None
            except ValueError:
                continue
            return number if number is None or math.isfinite(number) else None
        return WORDS.get(text)
    if isinstance(value, bool | int):
        return int(value)
    return value if isinstance(value, float) and math.isfinite(value) else None


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: no text, null, or NaN."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))
