"""Print the results of the soft-merging benchmark as the Markdown of docs/evidence/soft_merging.md.

python benchmarks/soft/table.py benchmarks/results/soft
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

KINDS = {
    "different": "members know different things",
    "siblings": "members of one origin know different things",
    "same": "members know the same",
}


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.1f} ± {deviation:.1f}"


def knowledge(record: dict[str, Any], kind: str) -> list[str]:
    """One row for each way: accuracy, and distance to the best member of the same group."""
    own = record[kind]
    rows = own["baselines"]
    best = [row["best"] for row in rows]
    lines = [f"| {record['network']}, {KINDS[kind]} | accuracy | above best |"]
    lines += ["|---|---|---|", f"| best member | {spread(best)} | |"]
    for name in (
        "origin",
        "ensemble",
        "average",
        "aligned average, permutation",
        "aligned average, cca",
        "distillation",
    ):
        values = [row[name] for row in rows if name in row]
        if len(values) == len(best):
            gains = [value - top for value, top in zip(values, best, strict=True)]
            lines.append(f"| {name} | {spread(values)} | {', '.join(f'{g:+.1f}' for g in gains)} |")
    for level, found in own["levels"].items():
        for name, key in (("gated", "above best"), ("returned", "returned above best")):
            values = [group[name] for group in found["groups"]]
            choices = (
                f" ({', '.join(group['choice'] for group in found['groups'])})"
                if name == "returned"
                else f", {told(found['setting'])}"
            )
            lines.append(
                f"| {level} level, {name}{choices} | {spread(values)} |"
                f" {', '.join(f'{group[key]:+.2f}' for group in found['groups'])} |"
            )
    return [*lines, ""]


def told(setting: dict[str, Any]) -> str:
    """A setting in words."""
    words = {True: "yes", False: "no"}
    return ", ".join(
        f"{name} {words[value] if isinstance(value, bool) else value}"
        for name, value in setting.items()
    )


def robustness(record: dict[str, Any]) -> list[str]:
    """One row for each attack and number of bad members: the worst of the groups, and the
    baselines' means.
    """
    rows = record["rows"]
    level = rows[0]["soft"][0]["level"]
    names = ["mean", "median", "trimmed mean", "greedy soup"]
    lines = [
        f"| {record['network']}, {level} level | bad of 5 | above best honest (worst) | largest bad"
        " gate | screened out | seconds | " + " | ".join(names) + " |",
        "|---" * (6 + len(names)) + "|",
    ]
    for attack in dict.fromkeys(row["attack"] for row in rows):
        for bad in (1, 2, 4):
            own = [row for row in rows if row["attack"] == attack and row["bad"] == bad]
            if not own:
                continue
            soft = [row["soft"][0] for row in own]
            cells = [
                f"{min(s['above best honest'] for s in soft):+.2f}",
                f"{max(s['largest gate of a bad member'] for s in soft):g}",
            ]
            cells += [
                "/".join(str(s["screened"]) for s in soft),
                f"{max(s['seconds'] for s in soft):.1f}",
            ]
            for name in names:
                values = [row[name] for row in own if name in row]
                cells.append(f"{statistics.mean(values):.1f}" if values else "")
            lines.append(f"| {attack} | {bad} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def cost(record: dict[str, Any]) -> list[str]:
    """Seconds of a step, and ratios to a plain one."""
    rows = {name: row for name, row in record.items() if isinstance(row, dict)}
    names = list(dict.fromkeys(key for row in rows.values() for key in row))
    lines = [
        "| | " + " | ".join(n if "/" in n or n == "rounds" else f"{n}, s" for n in names) + " |",
        "|---" * (1 + len(names)) + "|",
    ]
    return [
        *lines,
        *(
            f"| {name} | " + " | ".join(str(row.get(n, "")) for n in names) + " |"
            for name, row in rows.items()
        ),
        "",
    ]


def main() -> None:
    lines: list[str] = []
    for path in sorted(Path(sys.argv[1]).glob("*.json")):
        record = json.loads(path.read_text())
        if path.stem.startswith("cost"):
            lines += cost(record)
        elif path.stem.startswith("robustness"):
            lines += robustness(record)
        else:
            lines += [line for kind in KINDS if kind in record for line in knowledge(record, kind)]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
