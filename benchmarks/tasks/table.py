"""Tables of the benchmark of tasks in Markdown.

python benchmarks/tasks/table.py                          all tasks of benchmarks/results/tasks
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.tasks.registry import MODULES
from benchmarks.tasks.ways import WAYS

HEADS = {"same": "other seeds", "different": "other shares"}


def value(record: dict[str, Any], row: dict[str, Any], key: str = "") -> str:
    """The score of a row as it is shown, or of a key its gain with the error; "-" without one."""
    if "value" not in row:
        return "-"
    scale, digits = record["score"]["scale"], 2 if record["score"]["scale"] == 100 else 3
    if not key:
        shown = row["value"]
        return shown if isinstance(shown, str) else f"{scale * shown:.{digits}f}"
    gain, error = row[key]["gain"], row[key]["error"]
    if isinstance(gain, str) or isinstance(error, str):
        return "-"
    if gain == 0 and error == 0:
        return "0"
    return f"{scale * gain:+.{digits}f} ± {scale * error:.{digits}f}"


def named(record: dict[str, Any]) -> str:
    """The score with its unit and direction."""
    score = record["score"]
    unit = f", {score['unit']}" if score["unit"] else ""
    return f"{score['label']}{unit}" + (", less is better" if score["highest"] is False else "")


def titled(record: dict[str, Any]) -> str:
    """The benchmark, with its task where that is another word."""
    name, task = (record[key].replace("_", " ") for key in ("name", "task"))
    return name if name == task else f"{name} ({task})"


def details(record: dict[str, Any]) -> list[str]:
    """All rows of one task: the score, and how far it is ahead of best member and ensemble."""
    groups = record["groups"]
    heads = [f"{named(record)}", "ahead of the best member", "ahead of the ensemble", "seconds"]
    lines = []
    for name, group in groups.items():
        title = f"{HEADS.get(name, name)}"
        lines += [f"| {title} | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
        for row_name, row in group["rows"].items():
            own = [value(record, row), value(record, row, "to best")]
            own += [value(record, row, "to ensemble")]
            own += [f"{row['seconds']:.0f}" if "seconds" in row else ""]
            lines.append(f"| {_titled(row_name, row, group)} | " + " | ".join(own) + " |")
        lines += ["", *reasons(group)]
    return lines


def reasons(group: dict[str, Any]) -> list[str]:
    """Why rows have no figure, one sentence each."""
    told = [
        f"- {name.capitalize()}: {row['why not']}"
        for name, row in group["rows"].items()
        if "why not" in row
    ]
    return [*told, ""] if told else []


def glance(records: Sequence[dict[str, Any]]) -> list[str]:
    """One row for each group of every task, in the task's own score."""
    columns = ["best member", "ensemble", *WAYS]
    lines = ["| task, members | " + " | ".join(columns) + " |"]
    lines += ["|---" * (len(columns) + 1) + "|"]
    for record in records:
        for name, group in record["groups"].items():
            rows = group["rows"]
            cells = [value(record, rows[f"member {group['best']}"])]
            cells += [value(record, rows.get(column, {})) for column in columns[1:]]
            head = f"{titled(record)}, {HEADS.get(name, name)}: {named(record)}"
            lines.append(f"| {head} | " + " | ".join(cells) + " |")
    return lines


def _titled(name: str, row: dict[str, Any], group: dict[str, Any]) -> str:
    if name == f"member {group['best']}":
        return f"{name}, the best by held-out data"
    return f"{name}: {row['choice']}" if row.get("choice") else name


def main() -> None:
    folder = Path(__file__).resolve().parents[1] / "results" / "tasks"
    files = [folder / f"{name}.json" for name in MODULES]
    records = [json.loads(file.read_text()) for file in files if file.exists()]
    print("\n".join(glance(records)))
    for record in records:
        print("\n" + "\n".join(details(record)))


if __name__ == "__main__":
    main()
