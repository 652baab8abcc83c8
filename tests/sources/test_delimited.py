"""Columns of tables in files: each format, parts of them, and one sentence for each damage."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from onefold.errors import DataError, SettingError
from onefold.sources.delimited import form_of, read_columns
from onefold.sources.names import Name
from onefold.sources.table_formats import Form

ROWS = [("good, really", 1), ('a "bad" one', 0), ("two\nlines", 1), ("ärger", 2), ("last", 0)]


def write(folder: Path, ending: str, rows: list[tuple[Any, ...]] = ROWS) -> Path:
    file = folder / f"reviews{ending}"
    if ending == ".csv":
        with file.open("w", newline="", encoding="utf-8") as opened:
            csv.writer(opened).writerows([("sentence", "label"), *rows])
    elif ending == ".tsv":
        text = "".join(f"{a}\t{b}\n" for a, b in [("sentence", "label"), *rows])
        file.write_text(text, encoding="utf-8")
    elif ending == ".jsonl":
        lines = [json.dumps({"sentence": a, "label": b}) for a, b in rows]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif ending == ".json":
        file.write_text(json.dumps([{"sentence": a, "label": b} for a, b in rows]))
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        names = ("sentence", "label")
        table = {name: [row[i] for row in rows] for i, name in enumerate(names)}
        pq.write_table(pa.table(table), file, row_group_size=2)
    return file


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
@pytest.mark.parametrize(("start", "stop"), [(0, None), (1, 3), (2, 50), (4, 5), (5, 9)])
def test_columns_of_every_format(tmp_path: Path, ending: str, start: int, stop: int | None) -> None:
    rows = [row for row in ROWS if ending != ".tsv" or "\n" not in row[0]]
    found = read_columns([write(tmp_path, ending, rows)], ["label", "sentence"], None, start, stop)
    assert found.names == ("sentence", "label")
    assert list(found.values[1]) == [row[0] for row in rows][start:stop]
    assert [int(value) for value in found.values[0]] == [row[1] for row in rows][start:stop]
    assert found.header


def test_several_files_follow_each_other(tmp_path: Path) -> None:
    files = []
    for number in range(3):
        files.append(tmp_path / f"train-{number}.tsv")
        files[-1].write_text("text\tlabel\n" + "".join(f"{number}{i}\t{i}\n" for i in range(4)))
    found = read_columns(files, ["text"], None, 3, 10)
    assert found.values[0] == ["03", "10", "11", "12", "13", "20", "21"]
    assert found.where(0) == f"line 5 of the file {files[0]}"
    assert found.where(1) == f"line 2 of the file {files[1]}"
    assert found.where(6) == f"line 3 of the file {files[2]}"
    assert found.seen == 10


def test_columns_by_number_and_all(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv"
    file.write_text('"quoted" is a word\t1\n\nother\t0\r\n')
    found = read_columns([file], [1, 0])
    assert found.values == (["1", "0"], ['"quoted" is a word', "other"])
    assert not found.header
    assert found.places == [(0, 1), (0, 3)]
    assert read_columns([file], None).names == ('"quoted" is a word', "1")
    assert read_columns([file], None, Form(header=False)).names == ("0", "1")
    assert read_columns([file], [0], Form(header=True)).values == (["other"],)
    (tmp_path / "years.csv").write_text("place,2019,2020\nx,1,2\n")
    years = read_columns([tmp_path / "years.csv"], [2020, 1], Form(header=True))
    assert years.values == (["2"], ["1"])


def test_delimiters_quotes_and_encodings(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("a;b\nx,y;1\n")
    assert read_columns([file], ["a"], Form(delimiter=";")).values == (["x,y"],)
    file.write_bytes("\ufeffa,b\nä,1\n".encode())
    assert read_columns([file], ["a"]).values == (["ä"],)
    for encoding in ("cp1252", "utf-16"):
        file.write_bytes("a,b\nä,1\n".encode(encoding))
        assert read_columns([file], ["a"], Form(encoding)).values == (["ä"],)
    file.write_text('a,b\n"x,1\n')
    assert read_columns([file], ["a"], Form(quotes=False)).values == (['"x'],)
    tsv = tmp_path / "a.tsv"
    tsv.write_text('a\tb\n"x\ty"\t1\n')
    assert read_columns([tsv], ["a"], Form(quotes=True)).values == (["x\ty"],)
    text = tmp_path / "a.txt"
    text.write_text("one\n\ntwo, three\n")
    assert read_columns([text], ["text"]).values == (["one", "two, three"],)
    file.write_text("a\n" + '"' + "x" * 200_000 + '"\n')
    before = csv.field_size_limit()
    assert len(read_columns([file], ["a"]).values[0][0]) == 200_000
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("name", "content", "wanted", "message"),
    [
        ("a.csv", b"", ["a"], "a.csv is empty"),
        ("a.csv", b"\n\n", ["a"], "a.csv is empty"),
        ("a.jsonl", b"\n", ["a"], "a.jsonl is empty"),
        ("a.xls", b"x", ["a"], r"is no table .* ends with .csv, .tsv"),
        ("a.csv", b"sentence,label\nx,1\n", ["sentense"], r"'sentense'; did you mean 'sentence'\?"),
        ("a.csv", b"a,b\nx,1\n", ["zzz"], "its columns are a, b; if it has no header"),
        ("a.csv", b"a;b\nx;1\n", ["b"], "its header is 'a;b', so add delimiter=;"),
        ("a.csv", b"a,b\nx,1\n", [2], "has 2 columns, so none with the number 2"),
        ("a.csv", b"a,a\nx,1\n", ["a"], "2 columns named 'a'; give the column's number"),
        ("a.csv", b"a,b\nx,1\ny\n", ["a"], "Line 3 of the file .* 1 fields, but the header has 2"),
        ("a.tsv", b"x\t1\ny\t2\t3\n", [0], "Line 2 of .* 3 fields, but the first line has 2"),
        ("a.csv", b'a,b\nx,1\n"y,2\nz,3\n', ["a"], "begins in line 3 .* does not close"),
        ("a.csv", b'a,b\n"x"y,1\n', ["a"], "begins in line 2 .* closes inside a field"),
        ("a.csv", b"a,b\nx,1\n\xe4,2\n", ["a"], r"encoding utf-8 at byte 8 \(line 3\).*cp1252"),
        ("a.csv", "a,b\n".encode("utf-16"), ["a"], r"at byte 0 \(line 1\).*encoding=utf-16"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', ["a"], "Line 2 of the file .* is no JSON"),
        ("a.jsonl", b'{"a": 1}\n{"b": 1}\n', ["a"], "Line 2 of the file .* has no 'a'"),
        ("a.jsonl", b'{"a": 1}\n[1]\n', ["a"], "Line 2 of the file .* is no JSON object"),
        ("a.jsonl", b"[1, 2]\n", ["a"], "Line 1 of the file .* is no JSON object"),
        ("a.json", b'[{"a": 1},\n {"a": }]', ["a"], "Line 2 of the file .* is no JSON"),
        ("a.jsonl", b'{"a": 1}\n', ["aa"], "has no column 'aa'; did you mean 'a'"),
        ("a.parquet", b"PAR1", ["a"], "no parquet file that can be read"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, name: str, content: bytes, wanted: list[Any], message: str
) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_columns([tmp_path / name], wanted)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_columns([tmp_path / "none.csv"], ["a"])


def test_damage_after_the_wanted_rows_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(b"a,b\n" + b"x,1\n" * 5000 + b"\xe4\n")
    assert len(read_columns([file], ["a"], None, 0, 4)) == 4


def test_options_of_a_source() -> None:
    def form(**options: Any) -> Form:
        return form_of(Name("text:x.csv", "text:", "x.csv", options))

    assert form() == Form()
    assert form(delimiter="tab", header=False, quotes=True) == Form("utf-8", "\t", False, True)
    assert form(delimiter=()).delimiter == ","
    for options, message in (
        ({"encoding": "utf-9"}, "'utf-9' of 'text:x.csv' is unknown"),
        ({"encoding": "base64"}, "'base64' of"),
        ({"delimiter": "ab"}, "no single character"),
        ({"header": 3}, "'header' of .* must be true or false, not 3"),
    ):
        with pytest.raises(SettingError, match=message):
            form(**options)
