"""Labels in lists: several classes of a row at once, or a label for each word of a text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch

from onefold.errors import DataError
from onefold.sources.data import Request
from onefold.sources.label_columns import LabelColumn, Labels, one_column


def sets_of_classes(column: LabelColumn, request: Request) -> Labels:
    """Lists of class numbers or names in one column, as (n, k) int64 of 0 and 1.

    Raises:
        DataError: a row has no list, or an unknown class.
        SettingError: `classes` lacks a class.
    """
    for row, value in enumerate(column.values):
        if not isinstance(value, list):
            raise DataError(
                f"The label in {column.where(row)} is {value!r}, but others are lists; give every"
                " row a list of its classes."
            )
    place = [row for row, value in enumerate(column.values) for _ in value]
    single = one_column(_flat(column, place), request)
    if not single.classes:
        raise DataError(
            f"The lists in column '{column.name}' of '{request.name.text}' hold no classes; give"
            " class numbers or names."
        )
    values = torch.zeros(len(column.values), single.classes, dtype=torch.int64)
    values[torch.tensor(place, dtype=torch.int64), single.values] = 1
    return Labels(values, single.classes, single.names)


def labels_of_words(
    column: LabelColumn, words: Sequence[Sequence[str]], request: Request
) -> tuple[list[list[int]], int, tuple[str, ...]]:
    """Lists of labels, one for each word; the number of classes, and their names.

    Args:
        column: its values are lists of class numbers or names.
        words: the words of each wanted row.
        request: the request.

    Raises:
        DataError: a row has another number of labels than words, or an unknown class.
        SettingError: `classes` lacks a class.
    """
    for row, (own, value) in enumerate(zip(words, column.values, strict=True)):
        if not isinstance(value, list) or len(value) != len(own):
            count = f"{len(value)} labels" if isinstance(value, list) else "no list of labels"
            raise DataError(
                f"The {len(own)} words in {column.where(row)} have {count}; give each word one."
            )
    place = [row for row, value in enumerate(column.values) for _ in value]
    single = one_column(_flat(column, place), request)
    if single.classes is None:
        raise DataError(
            f"The labels of words of '{request.name.text}' are no classes; give class numbers or"
            " names."
        )
    numbers = iter(single.values.tolist())
    found = [[int(next(numbers)) for _ in value] for value in column.values]
    return found, single.classes, single.names


def _flat(column: LabelColumn, place: Sequence[int]) -> LabelColumn:
    """A column of lists as a column of their entries; `place` says the row of each."""

    def entries(values: Iterable[Any]) -> list[Any]:
        return [one for value in values if isinstance(value, list) for one in value]

    return replace(
        column,
        values=entries(column.values),
        training=entries(column.training),
        others=entries(column.others),
        where=lambda index: column.where(place[index]),
    )
