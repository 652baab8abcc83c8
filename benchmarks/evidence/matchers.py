"""Tables of matchers: two seeds, and every method beside its official code."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.evidence.registry import table
from benchmarks.evidence.wrapping import paragraph
from benchmarks.folding import official_table
from benchmarks.folding import table as seeds


def two_seeds(network: str, results: dict[str, Any]) -> list[str]:
    """Accuracy of every method, ours and the official code's, and what held-out images chose."""
    own = results[network]
    return [*seeds.quality(network, own), "", *paragraph(seeds.settings(own)[-1])]


def networks(results: dict[str, Any]) -> list[str]:
    """The networks of the file."""
    return [n for n, own in results.items() if isinstance(own, dict) and "rows" in own]


for name in ("resnet20", "vgg11-quarter"):
    table(f"two seeds, {name}")(partial(two_seeds, name))


@table("what CCA Merge costs beside its official code")
def cost(results: dict[str, Any]) -> list[str]:
    """Seconds and memory of permutation and CCA."""
    return seeds.costs({name: results[name] for name in networks(results)})


@table("two to five members of the same data")
def many(results: dict[str, Any]) -> list[str]:
    """Accuracy and seconds against the number of members."""
    return seeds.many(results["many members"])


OFFICIAL = {
    "CCA Merge": ("permutation", "cca"),
    "ZipIt": ("zipit",),
    "weight matching and transport": ("permutation", "weights", "transport"),
}


def beside_official(methods: tuple[str, ...], results: dict[str, Any]) -> list[str]:
    """Rows of some methods, one table for each network."""
    return official_table.table(results, methods)


for name, methods in OFFICIAL.items():
    table(f"{name} beside the official code")(partial(beside_official, methods))
