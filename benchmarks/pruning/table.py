"""The results of the benchmark of pruning as Markdown."""

from __future__ import annotations

from typing import Any

STAGES = ("raw", "recalibrated", "fine-tuned", "distilled")
HEADS = {
    "raw": "raw",
    "recalibrated": "batch norms re-estimated",
    "fine-tuned": "fine-tuned",
    "distilled": "distilled",
}


def shown(record: dict[str, Any]) -> list[str]:
    """The lines of one network: every method at every budget, and ours minus the best peer."""
    original = record["original"]
    lines = [
        f"| {original['title']} | multiply-adds | parameters | raw | re-estimated | fine-tuned |"
        " distilled | seconds |",
        "|---|---|---|---|---|---|---|---|",
        f"| as trained | {original['multiply_adds'] / 1e6:.2f} M |"
        f" {original['parameters'] / 1e3:.0f} k | {original['accuracy']:.2f} |  |  |  |  |",
    ]
    rows = [row for row in record.values() if "method" in row and "raw" in row]
    for row in sorted(rows, key=lambda row: (row["budget"], not row["own"])):
        cells = [f"{row[stage]:.2f}" if stage in row else "" for stage in STAGES]
        lines.append(
            f"| {row['title']}{' (labels)' if row['labels'] else ''}, {row['budget']:g}x |"
            f" {row['multiply_adds'] / original['multiply_adds']:.3f} |"
            f" {row['parameters'] / original['parameters']:.3f} | {' | '.join(cells)} |"
            f" {row['seconds']:.1f} |"
        )
    return lines


def reasons(record: dict[str, Any]) -> list[str]:
    """Which methods did not run, and why."""
    found: dict[str, list[str]] = {}
    for row in record.values():
        if "reason" in row and row["method"] not in found.setdefault(row["reason"], []):
            found[row["reason"]].append(row["method"])
    return [f"{', '.join(names)} ({reason})" for reason, names in found.items()]


def differences(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Of every budget, ours minus the best peer at every stage."""
    return {
        key.removeprefix("difference, "): value
        for key, value in record.items()
        if key.startswith("difference, ")
    }


def title_of(record: dict[str, Any], method: str) -> str:
    """A method in words."""
    rows = [row for row in record.values() if row.get("method") == method and "title" in row]
    return f"{rows[0]['title']}{' (labels)' if rows[0]['labels'] else ''}"


def interval(found: dict[str, Any]) -> str:
    """A difference with its interval, in points."""
    low, high = f"{found['low']:+.1f}", f"{found['high']:+.1f}"
    return f"{found['difference']:+.1f} ({low} to {high})"
