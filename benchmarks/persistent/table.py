"""Print the results of the benchmark as the Markdown of docs/evidence/persistent_neurons.md.

python benchmarks/persistent/table.py benchmarks/results/persistent
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TITLES = {
    "lenet-tiny": "LeNet-5, poor initialisation",
    "lenet-good": "LeNet-5, good initialisation",
    "alexnet": "small AlexNet",
    "resnet20": "ResNet-20",
}


def against(own: Sequence[float], other: Sequence[float]) -> str:
    """The mean of the paired differences and its standard error."""
    gains = [a - b for a, b in zip(own, other, strict=True)]
    return f"{statistics.mean(gains):+.1f} ± {statistics.stdev(gains) / math.sqrt(len(gains)):.1f}"


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    return (
        f"{statistics.mean(values):.1f} ±"
        f" {statistics.stdev(values) if len(values) > 1 else 0.0:.1f}"
    )


def small(title: str, own: dict[str, list[float]], record: dict[str, Any]) -> list[str]:
    """Percentages of success, one row for each way."""
    lines = [f"| {title} | success, % | above the best control |", "|---|---|---|"]
    for way, values in own.items():
        gain = (
            "the best control"
            if way == record["best control"]
            else against(values, own[record["best control"]])
        )
        lines.append(f"| {way}{strength_of(way, record)} | {spread(values)} | {gain} |")
    return [*lines, ""]


def strength_of(way: str, record: dict[str, Any]) -> str:
    strength = record["settings"].get(way, {}).get("strength")
    return f", strength {strength:g}" if strength else ""


def images(record: dict[str, Any]) -> list[str]:
    """Accuracy of every round, of the best and of the ensemble, and how much the rounds differ; one
    row for each way.
    """
    ways = record["ways"]
    count = len(ways["restarts"][0]["rounds"])
    heads = [f"round {k}" for k in range(count)] + [
        "best round",
        "ensemble",
        "disagreement, %",
        "barrier, nats",
        "aligned",
        "best above the best control",
    ]
    lines = [
        f"| {TITLES[record['task']]} | " + " | ".join(heads) + " |",
        "|---" * (len(heads) + 1) + "|",
    ]
    for way, found in ways.items():
        cells = [spread([one["rounds"][k] for one in found]) for k in range(count)]
        cells += [
            spread([one[key] for one in found]) for key in ("best", "ensemble", "disagreement")
        ]
        cells += [
            f"{statistics.mean(one[key] for one in found):.2f}"
            for key in ("barrier", "barrier, aligned")
        ]
        best = record["best control"]
        cells.append(
            "the best control"
            if way == best
            else against([one["best"] for one in found], [one["best"] for one in ways[best]])
        )
        lines.append(f"| {way}{strength_of(way, record)} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def steps(record: dict[str, Any]) -> list[str]:
    lines = []
    for case, own in record.items():
        if isinstance(own, dict):
            kinds = [key.removesuffix(", ms") for key in own if key.endswith(", ms")]
            lines += [f"| {case} | step, ms | / plain |", "|---|---|---|"]
            lines += [
                f"| {kind} | {own[f'{kind}, ms']} | {own.get(f'{kind} / plain', '')} |"
                for kind in kinds
            ] + [""]
    return lines


def main() -> None:
    folder = Path(sys.argv[1])

    def read(name: str) -> dict[str, Any] | None:
        path = folder / f"{name}.json"
        found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
        return found

    lines: list[str] = []
    for name in ("landscapes", "kink"):
        if record := read(name):
            for task, own in record["tasks"].items():
                lines += small(task, own, record)
    for name in TITLES:
        if record := read(name):
            lines += images(record)
    if record := read("steps"):
        lines += steps(record)
    print("\n".join(lines).rstrip())


if __name__ == "__main__":
    main()
