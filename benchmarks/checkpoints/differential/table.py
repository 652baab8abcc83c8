"""The results as tables: by method, and every difference below its reason.

python -m benchmarks.checkpoints.differential.table     prints the results that are kept
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "results" / "checkpoints" / "differential.json"
HEAD = (
    "| method | configurations | float32, greatest difference | 16 bits, beyond one unit |"
    " mergekit beyond itself | with float32 within | random, greatest z |",
    "|---|---|---|---|---|---|---|",
)
Told = dict[str, Any]


def tables(content: dict[str, Any]) -> list[str]:
    """Lines of all tables, of what the file of results holds."""
    told = content["configurations"]
    families = sorted({one["family"] for one in told})
    return [
        f"{len(told)} configurations of {len({one['method'] for one in told})} methods,"
        f" {', '.join(families)}.",
        "",
        *by_method(told),
        "",
        *differences(told),
        "",
        *of_large(content["large"]),
        *(f"declared otherwise: {text}" for text in content["declared_otherwise"]),
    ]


def by_method(told: Sequence[Told]) -> list[str]:
    """Lines of a table in Markdown, one for each method."""
    lines = list(HEAD)
    for method in sorted({one["method"] for one in told}):
        some = [one for one in told if one["method"] == method]
        relative = [one["relative"] for one in some if "relative" in one]
        shares = (
            [one[key] / one["elements"] for one in some if key in one]
            for key in ("beyond", "mergekit", "within")
        )
        chance = [abs(z) for one in some if "chance" in one for z in numbers(one["chance"])]
        cells = [
            method,
            str(len(some)),
            f"{max(relative):.1e}" if relative else "",
            *(f"{max(share):.2%}" if share else "" for share in shares),
            f"{max(chance):.1f}" if chance else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def of_large(told: Sequence[Told]) -> list[str]:
    """Lines of a table in Markdown, one for each merge of a large tensor in float32."""
    lines = [
        "| 1024 x 1024 | both apart | onefold from float64 | mergekit from float64 | elements |",
        "|---|---|---|---|---|",
    ]
    for one in told:
        figures = (f"{one[key]:.1e}" for key in ("relative", "onefold", "mergekit"))
        lines.append(f"| {one['name']} | {' | '.join(figures)} | {one['apart']} |")
    for reason in sorted({one["reason"] for one in told if one["reason"] is not None}):
        names = [one["name"] for one in told if one["reason"] == reason]
        lines.append(f"{reason or 'NOT EXPLAINED'} ({', '.join(names)})")
    return lines


def numbers(chance: Told) -> list[float]:
    """All z of the statistics of one configuration."""
    return [*chance["between"], *(z for side in chance["expected"] or () for z in side)]


def differences(told: Sequence[Told]) -> list[str]:
    """Every difference below its reason."""
    reasons: dict[str, list[str]] = {}
    for one in told:
        for what, reason in one["differences"]:
            reasons.setdefault(reason or "NOT EXPLAINED", []).append(f"  {one['name']}: {what}")
    return [line for reason, lines in reasons.items() for line in (reason, *lines)]


if __name__ == "__main__":
    print("\n".join(tables(json.loads(RESULTS.read_text()))))
