"""Print the results of the benchmark of persistent training as the Markdown of docs/persistent_neurons.md:  python benchmarks/persistent/table.py benchmarks/persistent"""

from __future__ import annotations

import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any

from common import spread

CONTROLS = (", uninformed control", ", control")
TITLES = {
    "lenet-tiny": "LeNet-5, poor initialisation",
    "lenet-good": "LeNet-5, good initialisation",
    "alexnet": "small AlexNet",
    "resnet20": "ResNet-20",
}


def against(own: list[float], other: list[float]) -> str:
    """The mean of the paired differences and its standard error."""
    gains = [a - b for a, b in zip(own, other, strict=True)]
    return f"{statistics.mean(gains):+.1f} ± {statistics.stdev(gains) / math.sqrt(len(gains)):.1f}"


def small(title: str, ways: dict[str, list[float]], settings: dict[str, Any]) -> list[str]:
    """Percentages of success, one row for each way."""
    lines = [f"| {title} | success, % | above its control |", "|---|---|---|"]
    for way, values in ways.items():
        control = ways.get(way + CONTROLS[0])
        setting = f" {settings[way]}" if way in settings else ""
        lines.append(f"| {way}{setting} | {spread(values)} | {against(values, control) if control else ''} |")
    return [*lines, ""]


def images(record: dict[str, Any]) -> list[str]:
    """Accuracy of every round, of the best and of the ensemble, and how much the rounds differ; one row for each way."""
    ways = record["ways"]
    count = len(ways["restarts"][0]["rounds"])
    heads = [f"round {k}" for k in range(count)] + ["best round", "ensemble", "disagreement, %", "barrier, nats", "aligned", "best above its control"]
    lines = [f"| {TITLES[record['task']]} | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for way, found in ways.items():
        strength = record["settings"].get(way, {}).get("strength")
        cells = [spread([one["rounds"][k] for one in found]) for k in range(count)]
        cells += [spread([one[key] for one in found]) for key in ("best", "ensemble", "disagreement")]
        cells += [f"{statistics.mean(one[key] for one in found):.2f}" for key in ("barrier", "barrier, aligned")]
        control = ways.get(way + CONTROLS[1])
        cells.append(against([one["best"] for one in found], [one["best"] for one in control]) if control else "")
        lines.append(f"| {way}{f', strength {strength:g}' if strength else ''} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def steps(record: dict[str, Any]) -> list[str]:
    lines = []
    for case, own in record.items():
        if isinstance(own, dict):
            kinds = [key.removesuffix(", ms") for key in own if key.endswith(", ms")]
            lines += [f"| {case} | step, ms | / plain |", "|---|---|---|"]
            lines += [f"| {kind} | {own[f'{kind}, ms']} | {own.get(f'{kind} / plain', '')} |" for kind in kinds] + [""]
    return lines


def main() -> None:
    folder = Path(sys.argv[1])

    def read(name: str) -> dict[str, Any] | None:
        path = folder / f"{name}.json"
        found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
        return found

    lines: list[str] = []
    for name, tasks in (("landscapes", {"fixed": "six fixed landscapes", "drawn": "60 landscapes drawn for each seed"}), ("kink", {"kink": "kink"})):
        if record := read(name):
            for task, title in tasks.items():
                lines += small(title, record[task], record["settings"])
    for name in TITLES:
        if record := read(name):
            lines += images(record)
    if record := read("steps"):
        lines += steps(record)
    print("\n".join(lines).rstrip())


if __name__ == "__main__":
    main()
