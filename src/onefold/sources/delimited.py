"""Columns of tables in files: csv, tsv, jsonl, json, parquet and lines of text.

A file's ending says how it is read. Columns are named by the header, or by their numbers from 0.
Values of csv and tsv are texts; those of jsonl and parquet have the types that they have there.
Rows before `start` are passed over and rows from `stop` on stay unread.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onefold.errors import DataError, SettingError, nearest
from onefold.sources.names import Name
from onefold.sources.table_formats import FORMATS, Form, Table, open_table

OPTIONS = ("encoding", "delimiter", "header", "quotes")
SHOWN = 12  # columns that a sentence names


@dataclass(frozen=True)
class Columns:
    """Some columns of a table, as they were read.

    Attributes:
        names: of all columns of the file.
        values: the values of each wanted column, one list per column in the wanted order.
        files: the files.
        places: the number of the file, and the line (row of a parquet file) from 1, of each value.
        seen: the number of rows that were passed, those before `start` too.
        header: whether the first line of each file was taken for names.
    """

    names: tuple[str, ...]
    values: tuple[list[Any], ...]
    files: tuple[Path, ...]
    places: list[tuple[int, int]]
    seen: int
    header: bool

    def __len__(self) -> int:
        return len(self.places)

    def where(self, row: int) -> str:
        """The place of a row, as "line 3 of the file reviews.csv", for an error."""
        number, line = self.places[row]
        file = self.files[number]
        if file.suffix.lower() == ".parquet":
            return f"row {line} of the file {file}"
        known = file.suffix.lower() in FORMATS
        return f"line {line} of the file {file}" if known else f"row {line} of {file}"

    def picked(self, rows: Sequence[int]) -> Columns:
        """Some of the rows."""
        values = tuple([column[row] for row in rows] for column in self.values)
        return replace(self, values=values, places=[self.places[row] for row in rows])


def form_of(name: Name) -> Form:
    """How the options of a source ask for a file to be read.

    Args:
        name: the name of the source; options encoding, delimiter, header and quotes.

    Raises:
        SettingError: an option has a value that it cannot have.
    """
    options = name.options
    encoding = str(options.get("encoding", "utf-8"))
    try:
        codecs.lookup(encoding)
        "".encode(encoding)  # not a codec of bytes, such as base64
    except LookupError:
        raise SettingError(
            f"The encoding '{encoding}' of '{name.text}' is unknown; use one of Python's, such as"
            " utf-8, cp1252 or utf-16."
        ) from None
    delimiter = options.get("delimiter")
    if delimiter is not None:
        # A comma alone reads as an empty tuple.
        words = {"tab": "\t", "\\t": "\t", "comma": ",", "space": " ", "()": ","}
        delimiter = words.get(str(delimiter), str(delimiter))
        if len(delimiter) != 1 or delimiter in '\r\n"':
            raise SettingError(
                f"The delimiter {delimiter!r} of '{name.text}' is no single character; write one,"
                " or tab, comma or space."
            )
    for option in ("header", "quotes"):
        if not isinstance(options.get(option, True), bool):
            raise SettingError(
                f"The option '{option}' of '{name.text}' must be true or false, not"
                f" {options[option]!r}."
            )
    return Form(encoding, delimiter, options.get("header"), options.get("quotes"))


def read_columns(
    files: Sequence[Path],
    wanted: Sequence[str | int] | None,
    form: Form | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Columns:
    """Read columns of the rows from `start` to `stop` of files that follow each other.

    Args:
        files: at least one; all have the wanted columns.
        wanted: the names of columns, or their numbers from 0; None: all of the first file, in its
            order.
        form: encoding, delimiter and so on; the usual one of each ending without it.
        start: the first row.
        stop: one past the last row; None reads all.

    Raises:
        DataError: a file is missing, empty or damaged, has no such column, is in another encoding,
            holds a quote that does not close, or a row of another number of fields; the sentence
            says in which line.
    """
    form = form or Form()
    by_number = wanted is not None and bool(wanted) and all(type(w) is int for w in wanted)
    header = form.header if form.header is not None else not by_number
    values: list[list[Any]] = []
    places: list[tuple[int, int]] = []
    names: tuple[str, ...] = ()
    seen = 0
    for number, file in enumerate(files):
        if stop is not None and seen >= stop and names:
            break
        table = open_table(file, form, header)
        names = names or table.names
        chosen = [_position(w, table) for w in (names if wanted is None else wanted)]
        values = values or [[] for _ in chosen]
        for line, row in table.rows(chosen):
            if stop is not None and seen >= stop:
                break
            seen += 1
            if seen > start:
                places.append((number, line))
                for column, value in zip(values, row, strict=True):
                    column.append(value)
    return Columns(names, tuple(values), tuple(files), places, seen, header)


def _position(wanted: str | int, table: Table) -> int:
    """The position of a column. Raises DataError if there is none, or more than one."""
    names, file = table.names, table.file
    found = [index for index, name in enumerate(names) if name == str(wanted)]
    if len(found) > 1:
        raise DataError(
            f"The file {file} has {len(found)} columns named '{wanted}'; give the column's number,"
            f" such as {found[0]}, and header=true."
        )
    if found:
        return found[0]
    if isinstance(wanted, int):
        if 0 <= wanted < len(names):
            return wanted
        raise DataError(
            f"The file {file} has {len(names)} columns, so none with the number {wanted}; they"
            f" count from 0 to {len(names) - 1}."
        )
    raise DataError(f"The file {file} has no column '{wanted}'{_hint(wanted, table)}")


def _hint(wanted: str, table: Table) -> str:
    """The end of the sentence on a column that is missing."""
    names = table.names
    if len(names) == 1 and table.delimiter:
        for other, written in ((";", ";"), ("\t", "tab"), (",", "comma"), ("|", "|")):
            if other != table.delimiter and other in names[0]:
                return f"; its header is {names[0][:80]!r}, so add delimiter={written}."
    if not table.header:
        return "; it is read without a header, so give the column's number from 0."
    near = nearest(wanted, names, "none")
    if near != "none":
        return f"; {near}"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    listed = ", ".join(name[:40] for name in names[:SHOWN]) + more
    numbers = (
        "; if it has no header, give columns by number, such as 0 for the first"
        if table.delimiter
        else ""
    )
    return f"; its columns are {listed}{numbers}."
