"""The tables of the matchers beside the official code of their methods, as official.py found."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

METHODS = ("permutation", "weights", "transport", "zipit", "cca")
COLUMNS = ("REPAIR", "reset", "plain")


def table(record: Mapping[str, Any], methods: Sequence[str] = METHODS) -> list[str]:
    """Means and deviations over the pairs; the difference with the standard error of its mean.

    One table for each network. methods: which rows it has.
    """
    lines: list[str] = []
    for name, own in record.items():
        if "pairs" not in own:
            continue
        pairs = own["pairs"].values()
        best, ensemble = (
            statistics.mean(f(p) for p in pairs)
            for f in (lambda p: max(p["members"]), lambda p: p["ensemble"])
        )
        title = f"{name}, {len(pairs)} pairs; better member {best:.1f}, ensemble {ensemble:.1f}"
        lines += [
            f"| {title} | | onefold | official | difference | settings of onefold; official |",
            "|---|---|---|---|---|---|",
        ]
        for method in methods:
            for column in COLUMNS:
                if (key := f"{method}, {column}") + ", onefold" not in own["test"]:
                    continue
                ours, theirs = (own["test"][f"{key}, {code}"] for code in ("onefold", "official"))
                gaps = [a - theirs["accuracy"][pair] for pair, a in ours["accuracy"].items()]
                scores = [list(one["accuracy"].values()) for one in (ours, theirs)]
                cells = [
                    f"{statistics.mean(one):.1f} ± {statistics.stdev(one):.1f}" for one in scores
                ]
                cells.append(
                    f"{statistics.mean(gaps):+.2f} (se"
                    f" {statistics.stdev(gaps) / len(gaps) ** 0.5:.2f})"
                )
                words = [
                    ", ".join(f"{n}={v}" for n, v in one["setting"].items())
                    for one in (ours, theirs)
                ]
                lines.append(
                    f"| {method} | {column} | {' | '.join(cells)} |"
                    f" {'; '.join(w for w in words if w)} |"
                )
        lines.append("")
    return lines[:-1]
