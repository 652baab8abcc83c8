"""The table of docs/evidence/index.md: one row for each claim, the figure, and its page."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.evidence.registry import claims, table

# The order of the rows; claims of other pages come last.
PAGES = (
    "default",
    "least_squares",
    "pruning",
    "class_pools",
    "polish",
    "cca_merge",
    "git_rebasin_and_transport",
    "repair",
    "partial_merging",
    "transformers",
    "tasks",
    "checkpoints",
    "soft_merging",
    "subspaces",
    "persistent_neurons",
    "scale",
    "reliability",
    "attacks",
)


def place(page: str) -> int:
    """Where a page's claims stand."""
    name = page.split(".")[0]
    return PAGES.index(name) if name in PAGES else len(PAGES)


def title(pages: Path, page: str) -> str:
    """The page's heading up to a colon, as what leads to it."""
    path = pages / page.split("#")[0]
    heading = path.read_text().splitlines()[0] if path.exists() else page
    return heading.removeprefix("# ").split(":")[0]


@table("overview")
def overview(results: Path) -> list[str]:
    """All claims; results: the folder of all results."""
    pages = results.parents[1] / "docs" / "evidence"
    lines = ["| claim | measured | page |", "|---|---|---|"]
    # By module too, since another one may have been imported before.
    for one in sorted(claims, key=lambda each: (place(each.page), each.figure.__module__)):
        loaded = [json.loads((results / file).read_text()) for file in one.files]
        link = f"[{title(pages, one.page)}]({one.page})"
        lines.append(f"| {one.words} | {one.figure(*loaded)} | {link} |")
    return lines
