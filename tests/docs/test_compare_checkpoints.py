"""The guide on comparing checkpoints runs as it stands there, and names the limits that hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints.comparison.folders import network, put, tuned
from doc_pages import text_of
from guide_pages import commands, run_page

from onefold.checkpoints.comparison import passes, thresholds

PAGE = "guides/compare_checkpoints.md"


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = network(0)
    for name, state in (("base", base), ("code", tuned(base, 1)), ("math", tuned(base, 2))):
        put(tmp_path / name, state)


def test_the_code(root: Path) -> None:
    names = run_page(root, PAGE, {})
    assert names["found"].members == ("code", "math")


def test_the_command(root: Path, onefold: Callable) -> None:
    for words in commands(root, PAGE):
        assert words[0] == "onefold"
        found = onefold(*words[1:])
        assert found.status == 0, found.err
        assert found.out.startswith("Changes from the base base.")


def test_the_limits_are_those_of_the_code(root: Path) -> None:
    text = " ".join(text_of(root, PAGE).split())
    assert f"longer than {thresholds.UNRELATED} times" in text
    assert f"From {thresholds.LONG} on a task vector" in text
    assert f"below {thresholds.OPPOSED} undo" in text
    assert f"From {thresholds.SAME_DIRECTION} on a plain average" in text
    assert f"of {passes.CHUNK:,} elements" in text
    assert round(1 / thresholds.LARGEST) == 5
