"""Rows of numbers in tables (`csv:FILE`, `csv:DIR`): csv, tsv, jsonl and parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from onefold.errors import DataError, SettingError
from onefold.sources.arrays import Array, Arrays
from onefold.sources.class_names import OPTION
from onefold.sources.data import Request, checks, data_sources, none_left
from onefold.sources.delimited import OPTIONS as READING
from onefold.sources.delimited import Columns, form_of, read_columns
from onefold.sources.held_out import OPTIONS as SHARE
from onefold.sources.held_out import check_share, cut, split_rows
from onefold.sources.label_columns import USUAL, LabelColumn, one_column, several_columns
from onefold.sources.names import check_options
from onefold.sources.number_columns import InputColumns, input_matrix
from onefold.sources.split_files import check_place, other_file, split_files
from onefold.sources.table_formats import Form, open_table
from onefold.sources.text_columns import columns_in

OPTIONS = (
    "label",
    "inputs",
    "drop",
    "onehot",
    "standardize",
    "regression",
    "train",
    "test",
    *SHARE,
    OPTION,
    *READING,
)
LACKING = "name the file of the test split by test="


@data_sources.register("csv:")
def tables(request: Request) -> Arrays:
    """Tables of numbers (csv:FILE or csv:DIR: csv, tsv, jsonl, parquet); options below.

    `label` names the column of labels, or several (`label=a,b`), or none (`label=none`). `inputs`
    names the columns of inputs, in their order; without it all others are inputs, but for those of
    `drop` and for a column without a name, as pandas writes its index. Columns are given by name,
    or by number from 0 where a file has no header. DIR holds train.csv, test.csv and so on; for a
    FILE `test=FILE` (or `train=FILE`) names the other split, or `test_share=0.2` holds out a share
    of the rows, drawn by `seed` (0). `encoding`, `delimiter`, `header` and `quotes` say how a file
    is read.

    Inputs are (n, d) float32. `standardize=true` takes from each column its mean and divides by its
    deviation, both of the training rows. `onehot=colour` makes of a column one of 0 and 1 for each
    value of the training rows, in sorted order.

    Labels that are whole numbers are class numbers, unless `regression=true`; other numbers are to
    be predicted, (n,) float32; names are numbered by their sorted order in the training rows, or by
    `classes=NAME,NAME`. Several columns are (n, k): classes of 0 and 1 (int64), or numbers
    (float32).

    Raises:
        DataError: a file or a column is missing or damaged; a row lacks a value, or holds no finite
            number where one is needed; there is no such split.
        SettingError: an option is unknown or impossible.
    """
    form = checked(request)
    found = split_files(request)
    names = open_table((found.training or found.files)[0], form, form.header is not False).names
    labels = _labels(request, names, found.files[0])
    inputs = _inputs(request, names, labels, found.files[0])
    form = _with_header(form, [*inputs.columns, *labels], found.files[0])
    wanted = [*inputs.columns, *labels]
    everything = read_columns(found.files, wanted, form)
    if not len(everything):
        raise none_left(request, 0)
    rows = cut(split_rows(request, len(everything), found.whole, LACKING), request)
    chosen = everything.picked(rows.tolist())
    if found.training:
        training: Columns | None = read_columns(found.training, wanted, form)
    else:
        training = _training(request, found.whole, everything)
    matrix = input_matrix(chosen, training, inputs, request)
    count = len(inputs.columns)
    described = f"The table {found.files[0]}"
    data = Arrays((Array(matrix, described),), None, torch.arange(len(matrix)))
    if not labels:
        return data
    columns = [
        LabelColumn(
            everything.names[name] if isinstance(name, int) else name,
            chosen.values[count + k],
            () if training is None else training.values[count + k],
            chosen.where,
            everything.values[count + k],
            header=everything.header,
        )
        for k, name in enumerate(labels)
    ]
    one = one_column(columns[0], request) if len(columns) == 1 else None
    target = one or several_columns(columns, request)
    return replace(
        data,
        target=Array(target.values, described),
        classes=target.classes if one else None,
        names=target.names,
    )


def checked(request: Request) -> Form:
    """How the files of a request are read; nothing of them is read yet.

    Raises:
        SettingError: see `tables`. DataError: a file is missing.
    """
    name = request.name
    check_options(name, OPTIONS)
    check_share(request)
    for option in ("standardize", "regression"):
        if not isinstance(name.options.get(option, False), bool):
            raise SettingError(
                f"The option '{option}' of '{name.text}' must be true or false, not"
                f" {name.options[option]!r}."
            )
    form = form_of(name)
    check_place(request)
    other_file(request)
    return form


def _training(request: Request, whole: bool, everything: Columns) -> Columns | None:
    """The training rows in the files of the split; None if there are none."""
    if whole and request.split == "test":
        return None
    rows = split_rows(replace(request, split="train"), len(everything), whole, LACKING)
    return everything.picked(rows.tolist())


def _labels(request: Request, names: Sequence[str], file: Path) -> list[str | int]:
    """The columns of labels."""
    options = request.name.options
    if "label" in options:
        return [] if options["label"] is None else list(columns_in(request.name, "label"))
    usual = next((name for name in USUAL if name in names), None)
    if usual is None:
        raise DataError(
            f"The file {file} has no column named label; name that of the labels by label=COLUMN"
            f" (its columns are {_some(names)}), or add label=none."
        )
    return [usual]


def _inputs(
    request: Request, names: Sequence[str], labels: Sequence[str | int], file: Path
) -> InputColumns:
    """The columns of inputs, and which become columns of 0 and 1."""
    given, dropped, onehot = (
        list(columns_in(request.name, option)) for option in ("inputs", "drop", "onehot")
    )
    others = [*labels, *dropped]
    by_number = bool(others) and all(isinstance(one, int) for one in others)
    columns = given
    if not given and by_number and not _numbered(names):
        columns = [k for k in range(len(names)) if k not in others]
    elif not given:
        texts = [str(one) for one in others]
        columns = [name for name in names if name and name not in texts]
    columns = [*columns, *(one for one in onehot if one not in columns)]
    twice = next((one for one in columns if one in labels), None)
    if twice is not None:
        raise SettingError(
            f"The column '{twice}' of '{request.name.text}' cannot be both input and label; leave"
            " it out of one."
        )
    if not columns:
        raise DataError(f"The file {file} has no column of inputs beside the labels; check it.")
    standardize = bool(request.name.options.get("standardize", False))
    return InputColumns(tuple(columns), frozenset(onehot), standardize)


def _with_header(form: Form, columns: Sequence[str | int], file: Path) -> Form:
    """The form, with a header if columns are given by numbers but the file's names are numbers."""
    by_number = all(isinstance(one, int) for one in columns)
    if form.header is not None or not by_number:
        return form
    return replace(form, header=_numbered(open_table(file, form, True).names))


def _numbered(names: Sequence[str]) -> bool:
    """Whether columns are named 0, 1, 2, ..., as pandas names those of an array."""
    return list(names) == [str(k) for k in range(len(names))]


def _some(names: Sequence[str]) -> str:
    return ", ".join(name[:40] for name in names[:12]) + (", ..." if len(names) > 12 else "")


checks["csv:"] = checked
