"""Models whose names differ by a prefix alone, as "bert." in front of a network that got a head.

The names of one model decide what is written. Another model that shares none of them is looked at
again: with the prefix that makes most of its names equal, put in front of them or taken away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from onefold.checkpoints.document import Reference
from onefold.checkpoints.layouts import Layout
from onefold.checkpoints.plan.regions import Region, whole

DEPTH = 2  # parts of a prefix at most
LEAST = 0.5  # the share of the names that a prefix must make equal


def whole_regions(
    layouts: Mapping[Reference, Layout], decider: Reference
) -> dict[Reference, Region]:
    """All tensors of each model, by the names of the model that decides."""
    names = layouts[decider].tensors.keys()
    return {model: _region(layout, names) for model, layout in layouts.items()}


def sentences(regions: Mapping[Reference, Region]) -> list[str]:
    """One for each model whose names were taken with another prefix."""
    told = []
    for model, region in regions.items():
        if region.renamed:
            inner, name = next((i, n) for i, n in region.inner.items() if i != n)
            told.append(f"The tensor '{name}' of {model} stands for '{inner}', and so do others.")
    return told


def _region(layout: Layout, names: Iterable[str]) -> Region:
    own = layout.tensors.keys()
    wanted = set(names)
    if not own or own & wanted:
        return whole(layout)
    needed = LEAST * min(len(own), len(wanted))
    for prefix in _prefixes(own):
        cut = {name.removeprefix(prefix): name for name in own}
        if len(cut.keys() & wanted) >= needed:
            return Region(layout, prefix, cut)
    for prefix in _prefixes(wanted):
        put = {prefix + name: name for name in own}
        if len(put.keys() & wanted) >= needed:
            return Region(layout, "", put)
    return whole(layout)


def _prefixes(names: Iterable[str]) -> list[str]:
    """The beginnings of names, those of few parts first."""
    found: dict[str, None] = {}
    for depth in range(1, DEPTH + 1):
        for name in names:
            parts = name.split(".")
            if len(parts) > depth:
                found[".".join(parts[:depth]) + "."] = None
    return list(found)
