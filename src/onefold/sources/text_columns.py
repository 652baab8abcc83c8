"""Columns of a table as tokenized examples: text or pairs of texts, and labels of any kind.

The tables of files and the data sets of the library `datasets` share this.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import parse_qsl

import torch

from onefold.errors import DataError, SettingError
from onefold.sources.data import Request, none_left
from onefold.sources.delimited import Columns
from onefold.sources.held_out import OPTIONS as SHARE
from onefold.sources.held_out import check_share, cut, split_rows
from onefold.sources.label_columns import LabelColumn, Labels, one_column, several_columns
from onefold.sources.label_lists import labels_of_words, sets_of_classes
from onefold.sources.names import Name
from onefold.sources.texts import Blocks, Texts, cut_into_blocks
from onefold.sources.tokenizing import Encodings, check_length, load_tokenizer, tokenizer_folder

OPTIONS = (
    "text",
    "text2",
    "label",
    "classes",
    "regression",
    "tokenizer",
    "max_length",
    "block",
    *SHARE,
)
USUAL = ("text", "sentence", "content", "review")  # columns of text that need not be named
Column = str | int


class Table(Protocol):
    """The rows of one split, or of a whole that is yet to be split."""

    def names(self) -> tuple[str, ...]:
        """The names of all columns."""

    def read(self, wanted: Sequence[Column], start: int, stop: int | None) -> Columns:
        """Columns of the rows from `start` to `stop`."""

    def class_names(self, column: Column) -> tuple[str, ...]:
        """The names of a column's classes, if the data tell them; else ()."""


@dataclass(frozen=True)
class Split:
    """The tables of a request.

    Attributes:
        table: of the split, or of the whole.
        training: of the training split, if it is another.
        whole: the rows of `table` are the split.
        lacking: how a user gives a test split, as part of a sentence.
    """

    table: Table
    training: Table | None
    whole: bool
    lacking: str


def check_columns(request: Request) -> None:
    """Refuse options that cannot be, before anything is read.

    Raises:
        SettingError: an option is missing or impossible, or two of them do not go together.
        DataError: the tokenizer's folder is missing or holds none.
    """
    name = request.name
    check_share(request)
    check_length(name)
    check_length(name, "block")
    if "block" in name.options:
        for option in ("label", "text2", "max_length", "classes", "regression"):
            if option in name.options:
                raise SettingError(
                    f"The options block and {option} of '{name.text}' do not go together, since"
                    " blocks of running text are their own labels; leave one out."
                )
    for option in ("text", "text2"):
        if len(columns_in(name, option)) > 1:
            raise SettingError(
                f"The option '{option}' of '{name.text}' names several columns; name one, and"
                " another as text2."
            )
    for option in ("classes", "regression"):
        if option in name.options and "label" not in name.options:
            raise SettingError(
                f"The option '{option}' of '{name.text}' needs a column of labels; add"
                " label=COLUMN."
            )
    if not isinstance(name.options.get("regression", False), bool):
        raise SettingError(
            f"The option 'regression' of '{name.text}' must be true or false, not"
            f" {name.options['regression']!r}."
        )
    tokenizer_folder(name)


def columns_in(name: Name, option: str) -> tuple[Column, ...]:
    """The columns that an option names, by their names or numbers; () without it."""
    given = name.options.get(option)
    if given is None and (option not in name.options or option == "label"):  # label=none
        return ()
    if isinstance(given, list | tuple):
        return tuple(given)
    written = dict(parse_qsl(name.text.partition("?")[2], keep_blank_values=True)).get(option)
    text = str(given) if written is None or isinstance(given, str) else written
    return (int(text) if re.fullmatch(r"\d+", text) else text,)


def examples(request: Request, split: Split) -> Texts | Blocks:
    """The examples of a request.

    Raises:
        DataError: a column is missing, a row is unfit, or nothing is left.
        SettingError: `classes` lacks a class, or the package transformers is missing.
    """
    name = request.name
    text = columns_in(name, "text") or (_usual(split.table, name),)
    wanted = [*text, *columns_in(name, "text2")]
    tokenizer = load_tokenizer(name)
    if "block" in name.options:
        return _blocks(request, split, wanted, tokenizer)
    labels = columns_in(name, "label")
    columns = chosen_columns(request, split, [*wanted, *labels])
    texts = _texts(columns, 0, wanted[0])
    pairs = _texts(columns, 1, wanted[1]) if len(wanted) > 1 else None
    encodings = Encodings(tokenizer, texts, pairs, check_length(name), columns.where)
    found = Texts(encodings, torch.arange(len(texts)))
    if not labels:
        return found
    given = _label_columns(request, split, columns, labels, len(wanted))
    if isinstance(texts[0], list):
        words, classes, names = labels_of_words(given[0], texts, request)
        encodings.labels = words
        return replace(found, classes=classes, names=names)
    target = _labels(given, request)
    return replace(found, target=target.values, classes=target.classes, names=target.names)


def labels_of_rows(
    request: Request, split: Split, columns: Columns, labels: Sequence[Column], before: int
) -> Labels:
    """The labels of rows that were read.

    Args:
        request: the request.
        split: the tables.
        columns: of the wanted rows.
        labels: the columns of labels.
        before: number of columns that stand before them.

    Raises:
        DataError, SettingError: as `examples`.
    """
    return _labels(_label_columns(request, split, columns, labels, before), request)


def _label_columns(
    request: Request, split: Split, columns: Columns, labels: Sequence[Column], before: int
) -> list[LabelColumn]:
    given = [
        LabelColumn(
            columns.names[column] if isinstance(column, int) else column,
            columns.values[before + index],
            (),
            columns.where,
            known=split.table.class_names(column),
            header=columns.header,
        )
        for index, column in enumerate(labels)
    ]
    return _with_others(given, labels, columns.header, request, split)


def _labels(given: list[LabelColumn], request: Request) -> Labels:
    if len(given) > 1:
        return several_columns(given, request)
    if any(isinstance(value, list) for value in given[0].values):
        return sets_of_classes(given[0], request)
    return one_column(given[0], request)


def _with_others(
    given: list[LabelColumn], labels: Sequence[Column], header: bool, request: Request, split: Split
) -> list[LabelColumn]:
    """The columns with all labels of the training split and of the wanted one.

    They are not read where the options or the data set tell what labels are.
    """
    options = request.name.options
    if "classes" in options or options.get("regression") or all(one.known for one in given):
        return given
    every = [one.name for one in given] if header else list(labels)
    own = split.table.read(every, 0, None).values
    if split.training is None:
        return [replace(one, training=own[k]) for k, one in enumerate(given)]
    training = split.training.read(every, 0, None).values
    return [replace(one, training=training[k], others=own[k]) for k, one in enumerate(given)]


def _usual(table: Table, name: Name) -> Column:
    names = table.names()
    found = next((usual for usual in USUAL if usual in names), None)
    if found is None:
        if len(names) == 1:  # fields between other characters, perhaps
            table.read(USUAL[:1], 0, 1)
        listed = ", ".join(names[:12])
        raise DataError(
            f"The data of '{name.text}' have no column named {' or '.join(USUAL)}; add"
            f" text=COLUMN, one of {listed}, or a number from 0."
        )
    return found


def chosen_columns(
    request: Request, split: Split, wanted: Sequence[Column], part: bool = True
) -> Columns:
    """Columns of the rows of the split.

    Args:
        request: the request.
        split: the tables.
        wanted: the columns.
        part: the rows after `skip`, at most `limit`; else all.

    Raises:
        DataError: a column is missing, or no row is left.
    """
    share = request.name.options.get("test_share")
    start, stop = (request.skip, request.end) if part else (0, None)
    if share is None and (split.whole or request.split == "train"):
        columns = split.table.read(wanted, start, stop)
        if not len(columns):
            raise none_left(request, columns.seen)
        return columns
    total = split.table.read(wanted[:1], 0, None).seen
    rows = split_rows(request, total, split.whole, split.lacking)
    rows = cut(rows, request) if part else rows
    columns = split.table.read(wanted, int(rows[0]), int(rows[-1]) + 1)
    return columns.picked((rows - rows[0]).tolist())


def _texts(columns: Columns, index: int, column: Column) -> list[Any]:
    """The texts of a column. Raises DataError where a row holds something else."""
    values = columns.values[index]
    kind = list if isinstance(values[0], list) and index == 0 else str
    for row, value in enumerate(values):
        fits = isinstance(value, kind)
        if fits and kind is list:
            fits = bool(value) and all(isinstance(word, str) for word in value)
        if not fits:
            what = "nothing" if not value else f"a {type(value).__name__}"
            raise DataError(
                f"The column '{column}' holds {what} in {columns.where(row)}; it must hold"
                f" {'a list of words' if kind is list else 'a text'}."
            )
    return values


def _blocks(request: Request, split: Split, wanted: Sequence[Column], tokenizer: Any) -> Blocks:
    columns = chosen_columns(request, split, wanted, part=False)
    found = cut_into_blocks(
        tokenizer,
        _texts(columns, 0, wanted[0]),
        int(request.name.options["block"]),
        request.end,
        lambda: none_left(request, 0),
    )
    return replace(found, rows=cut(found.rows, request))
