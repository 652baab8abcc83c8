"""Print the results of the subspace benchmark as the Markdown of docs/evidence/subspaces.md.

python benchmarks/subspace/table.py benchmarks/results/subspace
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any


def steps(record: dict[str, Any]) -> list[str]:
    """Seconds of a step and peak memory, each with the ratio to plain training of the same code."""
    lines = []
    for case, own in record.items():
        if not isinstance(own, dict):
            continue
        lines += [
            f"| {case} | step, s | / plain | peak memory, MiB | / plain |",
            "|---|---|---|---|---|",
        ]
        for kind in [key.removesuffix(", s") for key in own if key.endswith(", s")]:
            cells = [
                own[f"{kind}, s"],
                own.get(f"{kind} / plain", ""),
                own.get(f"{kind}, peak MiB", ""),
                own.get(f"{kind} / plain, peak", ""),
            ]
            lines.append(f"| {kind} | " + " | ".join(str(cell) for cell in cells) + " |")
        lines.append("")
    return lines


def spread(values: list[float], digits: int) -> str:
    """Mean and standard deviation over the seeds."""
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def quality(record: dict[str, Any]) -> list[str]:
    """Accuracy, NLL and ECE of everything compared, one table for each share of wrong labels."""
    lines = []
    for noise, own in record["noise"].items():
        seeds = own["seeds"]
        title = (
            f"{record['network']}, {record['images']} images, {record['epochs']} epochs,"
            f" {100 * float(noise):.0f} % of labels wrong"
        )
        lines += [f"| {title} | accuracy, % | NLL, nats | ECE, % |", "|---|---|---|---|"]
        for row in seeds[0]:
            if not row.endswith("path"):
                cells = [
                    spread([seed[row][key] for seed in seeds], digits)
                    for key, digits in (("accuracy", 2), ("nll", 3), ("ece", 2))
                ]
                lines.append(f"| {row} | " + " | ".join(cells) + " |")
        lines += ["", *claims(seeds), ""]
    return lines


def claims(seeds: list[dict[str, Any]]) -> list[str]:
    """The paper's claims as differences within each seed, mean and deviation."""
    lines = ["| claim | " + " | ".join(("line", "curve", "simplex")) + " |", "|---|---|---|---|"]
    for rival in ("plain", "SWA", "EMA"):
        for key, unit, digits in (
            ("accuracy", "accuracy, points", 2),
            ("nll", "NLL, nats", 3),
            ("ece", "ECE, points", 2),
        ):
            cells = [
                spread([s[f"{shape}, midpoint"][key] - s[rival][key] for s in seeds], digits)
                for shape in ("line", "curve", "simplex")
            ]
            lines.append(f"| midpoint minus {rival}: {unit} | " + " | ".join(cells) + " |")
    for count in (2, 3):
        for key in ("accuracy", "nll"):
            cells = []
            for shape in ("line", "curve", "simplex"):
                gap = statistics.mean(
                    s[f"independent, {count}"][key] - s["plain"][key] for s in seeds
                )
                closed = statistics.mean(
                    s[f"{shape}, ensemble of {count}"][key] - s["plain"][key] for s in seeds
                )
                cells.append(f"{100 * closed / gap:.0f} %" if gap else "no gap")
            lines.append(
                f"| gap between plain and {count} independent closed by an ensemble of {count},"
                f" {key} | " + " | ".join(cells) + " |"
            )
    cells = [
        spread([s[f"{shape}, path"]["barrier"] for s in seeds], 2) for shape in ("line", "curve")
    ]
    rival = spread([s["independent, path"]["barrier"] for s in seeds], 2)
    return [
        *lines,
        (
            f"| accuracy dip along the path, points (between independent networks: {rival}) |"
            f" {cells[0]} | {cells[1]} | |"
        ),
    ]


def main() -> None:
    lines: list[str] = []
    for path in sorted(Path(sys.argv[1]).glob("*.json"), reverse=True):
        record = json.loads(path.read_text())
        lines += steps(record) if path.stem.startswith("steps") else quality(record)
    print("\n".join(lines).rstrip())


if __name__ == "__main__":
    main()
