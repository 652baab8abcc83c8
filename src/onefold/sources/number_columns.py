"""Columns of a table as a matrix of numbers: standardised and one-hot by the training rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onefold.errors import DataError, nearest
from onefold.sources.data import Request
from onefold.sources.delimited import Columns
from onefold.sources.label_columns import as_number, is_missing

NOTHING = {"na", "n/a", "nan", "null", "none", "?"}  # usual words for a value that is missing


@dataclass(frozen=True)
class InputColumns:
    """The columns of inputs.

    Attributes:
        columns: their names or numbers, in the order of the inputs.
        onehot: those of which each value becomes a column of 0 and 1.
        standardize: subtract the mean of other columns and divide by their deviation.
    """

    columns: tuple[str | int, ...]
    onehot: frozenset[str | int]
    standardize: bool


def input_matrix(
    chosen: Columns, training: Columns | None, inputs: InputColumns, request: Request
) -> Tensor:
    """The inputs (n, d), float32.

    Args:
        chosen: the wanted rows; their first columns are the inputs.
        training: the training rows, by which columns are standardised and values become columns.
        inputs: the columns.
        request: the request, for messages.

    Raises:
        DataError: a value is missing, no finite number, or a category that no training row has; or
            training rows are needed and not known.
    """
    if training is None and (inputs.standardize or inputs.onehot):
        option = "standardize" if inputs.standardize else "onehot"
        raise DataError(
            f"The option {option} of '{request.name.text}' needs the training rows; name the folder"
            " of both splits, or the training file by train=."
        )
    parts: list[NDArray[np.float64]] = []
    for k, column in enumerate(inputs.columns):
        name = chosen.names[column] if isinstance(column, int) else column
        values = chosen.values[k]
        if column in inputs.onehot:
            assert training is not None
            parts.append(_onehot(values, training.values[k], name, chosen.where, training.where))
            continue
        numbers = column_numbers(values, name, chosen.where)
        if inputs.standardize:
            assert training is not None
            known = column_numbers(training.values[k], name, training.where)
            deviation = known.std()
            numbers = (numbers - known.mean()) / (deviation if deviation > 0 else 1.0)
        parts.append(numbers[:, None])
    return torch.from_numpy(np.concatenate(parts, axis=1)).float()


def column_numbers(
    values: Sequence[Any], name: str, where: Callable[[int], str]
) -> NDArray[np.float64]:
    """The values (n,) of a column as numbers.

    Args:
        values: numbers, truth values, or texts of them.
        name: of the column.
        where: says where a row is.

    Raises:
        DataError: a value is missing or no finite number.
    """
    try:
        found = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):  # some are words
        words = [as_number(value) for value in values]
        found = np.array([np.nan if word is None else word for word in words], dtype=np.float64)
    broken = np.flatnonzero(~np.isfinite(found))
    if not len(broken):
        return found
    row = int(broken[0])
    value = values[row]
    if is_missing(value) or str(value).strip().lower() in NOTHING:
        raise DataError(
            f"The column '{name}' has no value in {where(row)}; fill it in, or leave the row out."
        )
    cure = "put it right, or leave the row out"
    if 2 * len(broken) > len(values):
        cure = f"leave the column out by drop={name}, or take it by onehot={name}"
    raise DataError(
        f"The column '{name}' holds '{str(value)[:60]}' in {where(row)}, which is no finite number;"
        f" {cure}."
    )


def _onehot(
    values: Sequence[Any],
    training: Sequence[Any],
    name: str,
    where: Callable[[int], str],
    where_training: Callable[[int], str],
) -> NDArray[np.float64]:
    """Columns of 0 and 1, one for each value of the training rows, in sorted order."""
    known = sorted(set(_words(training, name, where_training)), key=_order)
    numbers = {value: index for index, value in enumerate(known)}
    found = np.zeros((len(values), len(known)))
    for row, value in enumerate(_words(values, name, where)):
        if value not in numbers:
            raise DataError(
                f"The column '{name}' holds '{value[:60]}' in {where(row)}, which no training row"
                f" has; {nearest(value, known)}"
            )
        found[row, numbers[value]] = 1.0
    return found


def _order(value: str) -> tuple[bool, int | float, str]:
    """Numbers by their size, before words by their letters."""
    number = as_number(value)
    return number is None, number or 0, value


def _words(values: Sequence[Any], name: str, where: Callable[[int], str]) -> list[str]:
    for row, value in enumerate(values):
        if is_missing(value):
            raise DataError(
                f"The column '{name}' has no value in {where(row)}; fill it in, or leave the row"
                " out."
            )
    return [str(value).strip() for value in values]
