"""The code of docs/folding.md runs as it stands there, and shows what the page says of it."""

from __future__ import annotations

from pathlib import Path

from doc_pages import run_section

import onefold


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
        onefold.evaluate(polished.model, names["test"]).accuracy
        > accuracy["least_squares, none"] - 0.01
    )
