"""Tables of docs/evidence/polish.md: what distilling the ensemble into a network brings."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.evidence.registry import claim, table
from benchmarks.polish.table import TITLES, gain, lines


def group_table(group: str, results: dict[str, Any]) -> list[str]:
    """All plans of one group of members, from the best member and from the fold."""
    return lines(group, results[group])


for name in TITLES:
    table(f"polish, {name}")(partial(group_table, name))


@claim(
    "Polish for three passes: two VGG11/4 that know different halves",
    "polish.md",
    "polish/results.json",
)
def three_passes(results: dict[str, Any]) -> str:
    """The gain over the best member, beside the ensemble's."""
    group = results["vgg11, halves"]
    polished = group["polished"]["best member"]["3 passes at 1e-4"]
    return f"{gain(polished)} points above the best member; the ensemble {gain(group['ensemble'])}"
