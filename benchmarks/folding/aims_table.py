"""The table of what least squares may aim at, from aims.py's record."""

from __future__ import annotations

import statistics
from typing import Any

from onefold.ensemble.mean_choice import evener

KINDS = {
    "same": "the same data",
    "parts": "other images of the same classes",
    "different": "other shares of the classes",
    "origin": "one origin",
    "bad": "one of them bad",
}
AIMS = ("logits", "probabilities", "classes")


def chosen(row: dict[str, Any]) -> str:
    """What the rule takes, of members that are known to be classifiers."""
    return evener(row["uneven"], row["variation"])


def table(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Gains over the best member, and the rule's, one row for each kind of groups."""
    lines = [
        "| members with | groups | logits | probabilities | classes | as it comes |",
        "|---|---|---|---|---|---|",
    ]
    for kind, words in KINDS.items():
        own = [row for row in rows.values() if row["kind"] == kind]
        cells = [statistics.mean(row["fold"][name] - row["best"] for row in own) for name in AIMS]
        cells.append(statistics.mean(row["fold"][chosen(row)] - row["best"] for row in own))
        lines.append(
            f"| {words} | {len(own)} | " + " | ".join(f"{cell:+.1f}" for cell in cells) + " |"
        )
    return lines
