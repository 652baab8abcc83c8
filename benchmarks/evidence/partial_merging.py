"""Tables of docs/evidence/partial_merging.md: merging up to a place."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.evidence.registry import claim, table
from benchmarks.folding import partial_table

PAIRS = ("halves-vgg11", "same-resnet20")


def pair(name: str, results: dict[str, Any]) -> list[str]:
    """Accuracy and cost of one pair, one row for each place."""
    return partial_table.network(results[name])


for name in PAIRS:
    table(f"merged up to a place, {name}")(partial(pair, name))


@claim(
    "Merging the first layer alone: two VGG11/4 that know different halves",
    "partial_merging.md",
    "folding/partial.json",
)
def first_layer(results: dict[str, Any]) -> str:
    """The best of the ways, beside the ensemble."""
    own = results["halves-vgg11"]
    first = [next(iter(way.values()))["accuracy"] for way in own["ways"].values()]
    return f"{max(first):.1f} % at best; the ensemble {own['ensemble']['accuracy']:.1f} %"
