"""The table of the output layer of least squares: by squares, and by logistic regression."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.evidence.registry import table

COLUMNS = (
    "best member",
    "pool of classes, two networks",
    "squares, probabilities",
    "logistic, probabilities",
    "squares, classes",
    "logistic, classes",
)


def accuracy(row: dict[str, Any], column: str) -> float:
    """One cell of one repeat, in percent."""
    if column == "best member":
        return float(row["best member"])
    if column.startswith("pool"):
        return float(row["ensemble"]["classes"])
    return float(row["folds"][column])


@table("the output layer of least squares")
def heads(results: dict[str, Any]) -> list[str]:
    """Mean accuracies over the repeats, a row for each network and share."""
    lines = ["| members | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for network, shares in results.items():
        for share, repeats in shares.items():
            means = [
                statistics.mean(accuracy(row, column) for row in repeats.values())
                for column in COLUMNS
            ]
            cells = " | ".join(f"{mean:.1f}" for mean in means)
            lines.append(f"| {network}, {share} | {cells} |")
    return lines
