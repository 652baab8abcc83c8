"""Errors of a user's own file are told by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from onefold.errors import DataError, OnefoldError, SettingError
from onefold.sources import build_data
from onefold.sources.user_code import place_of, run_file

BROKEN = {
    "x = 1\ndef f(:\n": "own.py, line 2, is no valid Python: invalid syntax; put it right.",
    "def f():\nreturn 1\n": "own.py, line 2, is no valid Python: expected an indented block",
    "x = '": "own.py, line 1, is no valid Python: unterminated string literal",
    "a\0b": "own.py",
    "import torch\n\nx = y\n": "failed in line 3 with NameError: name 'y' is not defined; put it",
    "import no_such_package_here\n": "No module named 'no_such_package_here'; install it",
    "def g():\n    return {}['k']\ng()\n": "failed in line 2 with KeyError: 'k'; put it right.",
    "import beside_own\n": "failed in line 2 of beside_own.py with ZeroDivisionError: divis",
    "import sys\nsys.exit('usage: own.py')\n": "ends the program in line 2 when it is imported",
    "raise ValueError\n": "failed in line 1 with ValueError: no message; put it right.",
    "raise ValueError('one\\ntwo')\n": "with ValueError: one; put it right.",
}


@pytest.mark.parametrize("code", BROKEN)
def test_a_file_that_fails_is_told_with_its_line(tmp_path: Path, code: str) -> None:
    (tmp_path / "beside_own.py").write_text("x = 0\n1 / x\n")
    path = tmp_path / "own.py"
    path.write_text(code)
    with pytest.raises(SettingError) as caught:
        run_file(path, path.stat().st_mtime_ns)
    text = str(caught.value)
    assert BROKEN[code] in text
    assert "\n" not in text
    assert text.endswith(".")


def test_text_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    path = tmp_path / "latin.py"
    path.write_bytes("x = 'é'\n".encode("latin-1"))
    with pytest.raises(SettingError, match=r"latin\.py.* is no valid Python|latin\.py failed"):
        run_file(path, path.stat().st_mtime_ns)


LATE = """
import torch

def load(split):
    return look(split)

def look(split):
    return {"train": [torch.ones(3)]}[split]

class Late:
    def __init__(self, split):
        pass
    def __iter__(self):
        yield torch.ones(3)
        raise OSError("the disk is gone")
"""


def test_errors_of_its_functions_have_a_place(tmp_path: Path) -> None:
    path = tmp_path / "data.py"
    path.write_text(LATE)
    with pytest.raises(DataError, match=r"failed in line 8 of data\.py with KeyError: 'test'"):
        build_data(f"{path}:load", split="test")
    with pytest.raises(OSError, match="disk is gone") as caught:
        list(build_data(f"{path}:Late"))
    assert place_of(caught.value) == " in line 15 of data.py"


def test_other_errors_have_none() -> None:
    with pytest.raises(OnefoldError) as caught:
        build_data("sklearn:digits?no=1")
    assert place_of(caught.value) == ""
