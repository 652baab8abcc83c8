"""Tables of docs/evidence/transformers.md: transformers and recurrent networks, every map."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

from benchmarks.evidence.registry import claim, table
from benchmarks.evidence.wrapping import paragraph
from benchmarks.transformers import table as transformers


def network(name: str, results: dict[str, Any]) -> list[str]:
    """Every map and fold of one network, and what held-out examples chose."""
    own = results[name]
    lines = [*transformers.table(name, own), ""]
    return [*lines, *paragraph(f"Chosen on held-out examples: {transformers.settings(own)}.")]


for name in transformers.TITLES:
    table(f"transformers, {name}")(partial(network, name))


def kept(own: dict[str, Any], fold: str) -> float:
    """How much of the way from the plain average to the weaker member, mean over pairs, %."""
    tests = own["members"]["test"]
    weaker = [min(tests[i], tests[j]) for i, j in own["pairs"]]
    plain = [row["test"] for row in own["folds"]["none, none"]]
    found = [row["test"] for row in own["folds"][fold]]
    shares = [100 * (a - p) / (w - p) for a, p, w in zip(found, plain, weaker, strict=True)]
    return statistics.mean(shares)


@claim(
    "Least squares of two transformers or LSTMs: from the plain average to the weaker member",
    "transformers.md",
    "transformers/results.json",
)
def solved(results: dict[str, Any]) -> str:
    """The range over networks, of the default target."""
    shares = [kept(own, "least squares, pruning") for own in results.values()]
    return f"{min(shares):.0f} to {max(shares):.0f} % of the way, over {len(shares)} networks"


@claim(
    "Average after rotation: text transformers normalised before their branches",
    "transformers.md",
    "transformers/results.json",
)
def rotated(results: dict[str, Any]) -> str:
    """Accuracy, beside the plain average and the weaker member."""
    own = results["prenorm"]
    rotation, plain = (
        statistics.mean(row["test"] for row in own["folds"][fold])
        for fold in ("rotation, none", "none, none")
    )
    tests = own["members"]["test"]
    weaker = statistics.mean(min(tests[i], tests[j]) for i, j in own["pairs"])
    return f"{rotation:.1f} %; the plain average {plain:.1f}, the weaker member {weaker:.1f}"
