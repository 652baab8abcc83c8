"""The code of docs/folding.md runs as it stands there, and shows what the page says of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from doc_pages import run_section

import onefold as of
from onefold.fold.auto import IN_WORDS


def test_the_examples(root: Path) -> None:
    names = run_section(root, "folding.md", "An example", {})
    accuracy = names["accuracy"]
    best = max(accuracy["member 0"], accuracy["member 1"])
    assert accuracy["least_squares, none"] > best + 0.01
    assert (
        accuracy["least_squares, none"]
        > accuracy["average, permutation"]
        > accuracy["average, none"]
    )
    pool = run_section(root, "folding.md", "Classes in different shares", names)["pool"]
    assert pool.seen[0, :5].sum() > 0.9
    assert pool.seen[1, 5:].sum() > 0.9
    for name in (
        "least_squares, pooled by class",
        "member 0, balanced",
        "ensemble, pooled by class",
    ):
        assert accuracy[name] > best + 0.02
    polished = run_section(root, "folding.md", "Polish", names)["polished"]
    assert polished.divergence[-1] < 0.9 * polished.divergence[0]
    assert (
        of.evaluate(polished.model, names["test"]).accuracy > accuracy["least_squares, none"] - 0.01
    )


def test_the_default_is_told_in_the_same_words_everywhere(
    root: Path, onefold: Callable[..., Any]
) -> None:
    """In the code, the README, the page on folding, and the help of the command."""
    for page in ("README.md", "docs/folding.md"):
        assert IN_WORDS in " ".join((root / page).read_text().split()), page
    helped = " ".join(onefold("merge", "--help").out.replace("│", " ").split())
    assert IN_WORDS in helped
