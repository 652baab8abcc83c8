"""The table of folds of many members from few images, from few_images.py's record."""

from __future__ import annotations

import statistics

ROWS = {
    "best": "best member",
    "balanced": "best member, balanced",
    "probabilities": "ensemble",
    "pool": "ensemble, pooled by class",
    "before": "least squares before: mean of logits",
    "after": "least squares as it comes",
    "head": "only the head solved, on the best member's units",
    "classes": "least squares, classes",
    "leading": "least squares, classes, best member first",
}


def table(rows: dict[str, list[dict[str, float]]]) -> list[str]:
    """Means over the draws of images, a column for each group of members."""
    lines = ["| members | " + " | ".join(rows) + " |", "|---" * (len(rows) + 1) + "|"]
    for key, words in ROWS.items():
        cells = [f"{statistics.mean(draw[key] for draw in draws):.1f}" for draws in rows.values()]
        lines.append(f"| {words} | " + " | ".join(cells) + " |")
    return lines
