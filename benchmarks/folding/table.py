"""Print the results of the folding benchmark as Markdown.

python benchmarks/folding/table.py benchmarks/results/folding/results.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def quality(network: str, record: dict[str, Any]) -> list[str]:
    """One row for each method: accuracy before and after repair, ours and the official code's."""
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for row in record["rows"]:
        rows.setdefault(row["method"], {})[row["code"]] = row
    lines = [
        (
            f"| {network} | onefold, no repair | onefold, repair | official, no reset | official,"
            " norms reset |"
        ),
        "|---|---|---|---|---|",
    ]
    for method, by_code in rows.items():
        ours, theirs = by_code.get("onefold", by_code.get("", {})), by_code.get("official", {})
        cells = [ours.get("none"), ours.get("repair"), theirs.get("none"), theirs.get("repair")]
        lines.append(
            f"| {method} | "
            + " | ".join("" if cell is None else f"{cell:.2f}" for cell in cells)
            + " |"
        )
    return lines


def settings(record: dict[str, Any]) -> list[str]:
    """What the held-out images chose."""
    chosen = [
        f"{name}: {entry.get('setting', entry.get('gamma'))}"
        for name, entry in record["chosen"].items()
    ]
    return ["", "Chosen on held-out training images: " + "; ".join(chosen) + "."]


def cost(network: str, record: dict[str, Any]) -> list[str]:
    """Seconds beside the floor and the official code, and memory beside the bound."""
    lines = []
    for method, line in record["cost"]["methods"].items():
        cells = [
            line["floor"],
            line["onefold"],
            line["ratio to floor"],
            line.get("official"),
            line.get("official to onefold"),
        ]
        memory = [line["moments MB"], line["bound MB"], line["peak memory beyond forward MB"]]
        lines.append(
            f"| {network}, {method} | "
            + " | ".join("" if cell is None else f"{cell:g}" for cell in [*cells, *memory])
            + " |"
        )
    return lines


def costs(networks: dict[str, Any]) -> list[str]:
    """The table of seconds and memory, of all networks."""
    lines = [
        (
            "| | floor, s | onefold, s | onefold / floor | official, s | official / onefold |"
            " moments, MB | bound, MB | process beyond one forward, MB |"
        ),
        "|---|" + "---|" * 8,
    ]
    for network, record in networks.items():
        lines += cost(network, record)
    return lines


def many(rows: list[dict[str, Any]]) -> list[str]:
    """The table of many members."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    return lines + ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in rows]


def main() -> None:
    results = json.loads(Path(sys.argv[1]).read_text())
    networks = {
        name: record
        for name, record in results.items()
        if isinstance(record, dict) and "rows" in record
    }
    lines: list[str] = []
    for network, record in networks.items():
        lines += [*quality(network, record), *settings(record), ""]
    lines += costs(networks)
    if "many members" in results:
        lines += ["", *many(results["many members"])]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
