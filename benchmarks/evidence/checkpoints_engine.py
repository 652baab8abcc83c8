"""Tables of docs/evidence/checkpoints.md: merged files beside mergekit, in values and in time."""

from __future__ import annotations

from typing import Any

from benchmarks.checkpoints.differential.table import by_method
from benchmarks.evidence.registry import claim, table

DIFFERENTIAL, SPEED = "checkpoints/differential.json", "checkpoints/speed.json"


@table("the same documents by mergekit")
def differential_table(told: dict[str, Any]) -> list[str]:
    """A row for each method."""
    return [line.replace("_", "\\_") for line in by_method(told["configurations"])]


@table("seconds of merges")
def speed_table(*runs: dict[str, Any]) -> list[str]:
    """A row for each method, with columns for each size."""
    heads = []
    for run in runs:
        size = f"{run['parameters'] / 1e9:.1f} B"
        heads += [f"{size}: seconds", "times the floor", "MB of memory"]
        heads += ["mergekit, seconds"] if run["mergekit_rounds"] else []
    lines = [f"| method | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for method in runs[0]["methods"]:
        cells = [method.replace("_", "\\_")]
        for run in runs:
            one = run["methods"].get(method)
            cells += ["", "", ""] if one is None else _own(one)
            cells += [_peer(one)] if run["mergekit_rounds"] else []
        lines.append(f"| {' | '.join(cells)} |")
    return lines


@table("kills of a merge")
def kills_table(told: dict[str, Any]) -> list[str]:
    """A row for each state in which a kill may leave a merge."""
    found = told["found"]
    begun = f"{found['begun']}, of which {found['gone on with']} were gone on with"
    return [
        "| a kill left | times |",
        "|---|---|",
        f"| a run that was begun | {begun}; the others began anew |",
        f"| a complete folder | {found.get('complete', 0)} |",
        f"| nothing | {found.get('nothing', 0)} |",
    ]


def _own(one: dict[str, Any]) -> list[str]:
    return [f"{one['seconds']:.2f}", f"{one['ratio']:.1f}", str(one["peak_anonymous_mb"])]


def _peer(one: dict[str, Any] | None) -> str:
    return f"{one['mergekit']:.1f}" if one is not None and "mergekit" in one else ""


@claim("Documents of mergekit, merged by both: values in float32", "checkpoints.md", DIFFERENTIAL)
def differential_claim(told: dict[str, Any]) -> str:
    """The greatest differences."""
    found = sorted(one["relative"] for one in told["configurations"] if "relative" in one)
    return (
        f"of {len(found)} configurations {sum(x <= 1e-6 for x in found)} agree to 1e-6 of the"
        " largest value of each tensor; the others are explained"
    )


@claim("The same: time at 0.2 B parameters", "checkpoints.md", SPEED)
def speed_claim(run: dict[str, Any]) -> str:
    """Seconds of two methods beside mergekit."""
    told = []
    for name in ("linear", "ties"):
        one = run["methods"][name]
        told.append(f"{name} {one['seconds']:.1f} s ({one['mergekit']:.0f} s by mergekit)")
    return ", ".join(told)
