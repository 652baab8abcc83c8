"""The code of docs/folding.md runs as it stands there, and shows what the page says of it."""

from __future__ import annotations

from pathlib import Path

from doc_pages import run_section


def test_the_example(root: Path) -> None:
    accuracy = run_section(root, "folding.md", "An example", {})["accuracy"]
    best = max(accuracy["member 0"], accuracy["member 1"])
    assert accuracy["least_squares, none"] > best + 0.01
    assert accuracy["least_squares, none"] > accuracy["average, permutation"] > accuracy["average, none"]
