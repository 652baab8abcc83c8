"""The code of docs/alignment.md runs as it stands there, and shows what the page says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from doc_pages import run_section


def test_the_example(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run_section(root, "alignment.md", "An example", {})
    accuracy = names["accuracy"]
    assert accuracy["rotation"] > accuracy["permutation"] > accuracy["none"] + 0.1
    shown = capsys.readouterr().out
    assert "rotations only that keep the mean" in shown
    assert "as the groups over it agree best" in shown
