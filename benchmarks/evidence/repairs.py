"""The table of docs/evidence/repair.md: repair of averages without alignment."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.evidence.registry import claim, table

ORIGINS = {
    "trained": "branches of a trained network",
    "the same": "the same initial weights",
    "other": "other initial weights",
}
SHARES = {10000.0: "even", 0.5: "Dirichlet(0.5)", 0.1: "Dirichlet(0.1)"}


def gains(rows: list[dict[str, Any]]) -> list[float]:
    """What full repair adds to the plain average, in points."""
    return [row["full"]["accuracy"] - row["none"]["accuracy"] for row in rows]


@table("repair without alignment")
def repair(results: list[dict[str, Any]]) -> list[str]:
    """One row for each origin of the members and shares of the classes."""
    lines = [
        "| members | classes | groups | mean gain | least | worse by more than a point |",
        "|---" * 6 + "|",
    ]
    for origin, words in ORIGINS.items():
        for alpha, shares in SHARES.items():
            own = gains([r for r in results if (r["origin"], r["alpha"]) == (origin, alpha)])
            worse = sum(gain < -1 for gain in own)
            lines.append(
                f"| {words} | {shares} | {len(own)} | {statistics.mean(own):+.1f} |"
                f" {min(own):+.1f} | {worse} |"
            )
    return lines


@claim("REPAIR of averages that are not aligned", "repair.md", "folding/unaligned_repair.json")
def mean_gain(results: list[dict[str, Any]]) -> str:
    """The mean over all groups."""
    found = gains(results)
    return f"{statistics.mean(found):+.1f} points on average over {len(found)} random groups"
