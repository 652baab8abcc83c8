"""Every promise names a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "promises.md").read_text()
PROMISES = re.findall(r"^\| ([A-Z].*?) \| `(tests/[\w/.]+)(?:::(\w+))?` \|$", TEXT, re.MULTILINE)


def test_every_promise_names_a_test_that_is_there() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and "promise" not in line]
    assert len(PROMISES) == len(rows) > 10
    for promise, file, function in PROMISES:
        path = ROOT / file
        assert path.is_file(), promise
        if function:
            assert f"def {function}(" in path.read_text(), promise
