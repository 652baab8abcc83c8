"""The formats of tables: the names of their columns and their rows, one at a time.

Quotes: fields of csv may stand in double quotes, as RFC 4180 has it. Those of tsv are taken as they
are, since texts in such files often begin with a quote of their own.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onefold.errors import DataError

LONGEST = 2**31 - 1  # characters of a field; the limit of the module csv is lower by default
DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
Rows = Callable[[list[int]], Iterator[tuple[int, list[Any]]]]


@dataclass(frozen=True)
class Form:
    """How the text of a file is read.

    Attributes:
        encoding: one of Python's encodings; a mark of utf-8 at the start is passed over.
        delimiter: the character between fields; None: a comma in csv, a tab in tsv.
        header: whether the first line names the columns; None: unless columns are numbers.
        quotes: whether fields may stand in double quotes; None: in csv, not in tsv.
    """

    encoding: str = "utf-8"
    delimiter: str | None = None
    header: bool | None = None
    quotes: bool | None = None


@dataclass(frozen=True)
class Table:
    """An open table.

    Attributes:
        file: the file.
        names: the names of its columns; their numbers if it has no header.
        rows: of positions of columns, gives the number of each row's line, and its values there.
        header: whether the names are those of the file.
        delimiter: the character between fields, or "".
    """

    file: Path
    names: tuple[str, ...]
    rows: Rows
    header: bool = True
    delimiter: str = ""


def open_table(file: Path, form: Form, header: bool) -> Table:
    """The table in a file, by its ending.

    Args:
        file: a .csv, .tsv, .tab, .jsonl, .ndjson, .json, .parquet or .txt file.
        form: how it is read.
        header: whether the first line names the columns, of csv and tsv.

    Raises:
        DataError: the file is missing, empty, damaged or of another kind.
    """
    if not file.is_file():
        raise DataError(f"The file {file} does not exist; check its path.")
    ending = file.suffix.lower()
    if ending not in FORMATS:
        raise DataError(
            f"The file {file} is no table that can be read; give a file that ends with"
            f" {', '.join(FORMATS)}."
        )
    if file.stat().st_size == 0:
        raise DataError(f"The file {file} is empty; check it.")
    return FORMATS[ending](file, form, header)


def _lines(file: Path, form: Form) -> Iterator[str]:
    """The lines of a file with their ends. Raises DataError where it is in another encoding."""
    encoding = "utf-8-sig" if form.encoding.lower() in ("utf-8", "utf8") else form.encoding
    try:
        with file.open(encoding=encoding, newline="") as opened:
            yield from opened
    except UnicodeError:
        raise DataError(_wrong_encoding(file, form)) from None
    except OSError as error:
        raise DataError(f"The file {file} cannot be read ({error}); check it.") from None


def _wrong_encoding(file: Path, form: Form) -> str:
    content = file.read_bytes()
    place = ""
    try:
        content.decode(form.encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        place = f" at byte {error.start} (line {line})"
    except UnicodeError:  # as that of utf-16 without its mark
        pass
    zeros = {b"\0": "utf-16-be"}.get(content[:1]) or {b"\0": "utf-16-le"}.get(content[1:2])
    marked = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    other = "utf-16" if marked else zeros or "cp1252"
    other = "utf-8" if other.startswith(form.encoding.lower()) else other
    return (
        f"The file {file} is not in the encoding {form.encoding}{place}; name its own, as"
        f" encoding={other}."
    )


def _delimited(file: Path, form: Form, header: bool) -> Table:
    delimiter = form.delimiter or DELIMITERS[file.suffix.lower()]
    quotes = form.quotes if form.quotes is not None else delimiter != "\t"

    def records() -> Iterator[tuple[int, list[str]]]:
        return _quoted(file, form, delimiter) if quotes else _plain(file, form, delimiter)

    _, first = next(records(), (0, None))
    if first is None:
        raise DataError(f"The file {file} is empty; check it.")
    names = tuple(field.strip() for field in first) if header else None
    width = len(first)

    def rows(chosen: list[int]) -> Iterator[tuple[int, list[Any]]]:
        for number, (line, record) in enumerate(records()):
            if number == 0 and header:
                continue
            if len(record) != width:
                raise DataError(_ragged(file, line, len(record), width, quotes, header))
            yield line, [record[index] for index in chosen]

    return Table(file, names or tuple(map(str, range(width))), rows, header, delimiter)


def _plain(file: Path, form: Form, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(_lines(file, form), start=1):
        if text := line.rstrip("\r\n"):
            yield number, text.split(delimiter)


def _quoted(file: Path, form: Form, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The records of a csv file and the line in which each begins."""
    before = csv.field_size_limit(LONGEST)
    reader = csv.reader(_lines(file, form), delimiter=delimiter, strict=True)
    try:
        while True:
            line = reader.line_num + 1
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise DataError(_bad_quotes(file, line, str(error))) from None
            if record:
                yield line, record
    finally:
        csv.field_size_limit(before)


def _bad_quotes(file: Path, line: int, reason: str) -> str:
    if "unexpected end" in reason:
        what = "a quote is opened that does not close"
    elif "expected after" in reason:
        what = "a quote closes inside a field"
    else:
        what = f"a field cannot be read ({reason})"
    return (
        f"In the record that begins in line {line} of the file {file} {what}; double the quotes"
        " inside a field, or add quotes=false if quotes are characters like others."
    )


def _ragged(file: Path, line: int, found: int, width: int, quotes: bool, header: bool) -> str:
    like = "the header has" if header else "the first line has"
    cure = (
        "put text that holds the delimiter into quotes"
        if quotes
        else "add quotes=true if fields stand in quotes"
    )
    return f"Line {line} of the file {file} has {found} fields, but {like} {width}; {cure}."


def _objects(file: Path, form: Form, header: bool) -> Table:
    """One JSON object a line, or a whole list of them in a .json file."""

    def objects() -> Iterator[tuple[int, Any]]:
        lines = _lines(file, form)
        if file.suffix.lower() == ".json" and _is_list(file, form):
            text = "".join(lines)
            yield from enumerate(_parsed(text, file, 0), start=1)
            return
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, _parsed(line, file, number)

    first = next((one for _, one in objects()), None)
    if first is None:
        raise DataError(f"The file {file} is empty; check it.")
    names = tuple(map(str, first)) if isinstance(first, dict) else ()

    def rows(chosen: list[int]) -> Iterator[tuple[int, list[Any]]]:
        keys = [names[index] for index in chosen]
        for number, one in objects():
            if not isinstance(one, dict):
                raise DataError(
                    f"Line {number} of the file {file} is no JSON object; write one as"
                    ' {"text": "...", "label": 0}.'
                )
            lacking = next((key for key in keys if key not in one), None)
            if lacking is not None:
                raise DataError(
                    f"Line {number} of the file {file} has no '{lacking}'; give every line each"
                    " key."
                )
            yield number, [one[key] for key in keys]

    if not isinstance(first, dict):
        next(rows([]))  # which refuses it
    return Table(file, names, rows)


def _is_list(file: Path, form: Form) -> bool:
    return next((line.lstrip()[0] for line in _lines(file, form) if line.strip()), "") == "["


def _parsed(text: str, file: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        line = line or getattr(error, "lineno", 1)
        reason = str(getattr(error, "msg", error))
        raise DataError(
            f"Line {line} of the file {file} is no JSON ({reason}); put it right."
        ) from None


def _text(file: Path, form: Form, header: bool) -> Table:
    def rows(chosen: list[int]) -> Iterator[tuple[int, list[Any]]]:
        for number, line in enumerate(_lines(file, form), start=1):
            if line.strip():
                yield number, [line.rstrip("\r\n") for _ in chosen]

    return Table(file, ("text",), rows)


def _parquet(file: Path, form: Form, header: bool) -> Table:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError(
            'Reading parquet files needs pyarrow; install it with: pip install "onefold[hf]".'
        ) from None

    def damaged(error: Exception) -> DataError:
        return DataError(
            f"The file {file} is no parquet file that can be read ({str(error).splitlines()[0]});"
            " write it again."
        )

    try:
        opened = pq.ParquetFile(file)
    except (OSError, ValueError) as error:  # pyarrow's errors derive from these
        raise damaged(error) from error
    names = tuple(opened.schema_arrow.names)

    def rows(chosen: list[int]) -> Iterator[tuple[int, list[Any]]]:
        line, wanted = 0, list(dict.fromkeys(names[index] for index in chosen))
        try:
            for batch in opened.iter_batches(columns=wanted):
                found = {key: batch.column(key).to_pylist() for key in wanted}
                for index in range(batch.num_rows):
                    line += 1
                    yield line, [found[names[column]][index] for column in chosen]
        except (OSError, ValueError) as error:
            raise damaged(error) from error

    return Table(file, names, rows)


FORMATS: dict[str, Callable[[Path, Form, bool], Table]] = {
    ".csv": _delimited,
    ".tsv": _delimited,
    ".tab": _delimited,
    ".jsonl": _objects,
    ".ndjson": _objects,
    ".json": _objects,
    ".parquet": _parquet,
    ".txt": _text,
}
