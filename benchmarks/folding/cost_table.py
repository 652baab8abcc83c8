"""The tables of what folding costs, from cost.py's record: seconds and memory."""

from __future__ import annotations

from typing import Any

TARGETS = ("pruning", "correlation", "equal", "selection")  # of least squares
SECONDS = {
    "forward": "forward, s",
    "products": "products, s",
    "onefold": "onefold, s",
    "solve and apply": "of it solving and applying, s",
    "ratio": "onefold / floor",
    "ratio, channels last": "onefold / floor in channels last",
}
SOLVING = {
    "forward": "forward, s",
    "products": "products, s",
    "fold": "fold, s",
    "bound": "4 forward + products, s",
    "alignment": "alignment, s",
    "ratio": "fold / floor",
    "ratio with alignment": "with alignment / floor",
    "ratio, channels last": "fold / floor in channels last",
}


def head(*names: str) -> list[str]:
    """The first two rows of a table."""
    return ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]


def matchers(record: dict[str, Any]) -> list[str]:
    """Seconds of every matcher, beside one forward pass and the bare products."""
    lines = head(*SECONDS.values())
    for network, own in record["matchers"].items():
        for method, row in sorted(own.items()):
            if isinstance(row, dict):
                cells = " | ".join(f"{row[name]:.2f}" for name in SECONDS)
                lines.append(f"| {network}, {method} | {cells} |")
    return lines


def least_squares(record: dict[str, Any]) -> list[str]:
    """Seconds of least squares towards every target."""
    lines = head(*SOLVING.values())
    for network, own in record["least-squares"].items():
        for target in TARGETS:
            cells = " | ".join(f"{own[target][name]:.2f}" for name in SOLVING)
            lines.append(f"| {network}, {target} | {cells} |")
    return lines


def memory(record: dict[str, Any]) -> list[str]:
    """Moments beside their bound, and what the process grows by."""
    lines = head(
        "moments, MB",
        "bound, MB",
        "process beyond one forward pass, MB, a quarter of the images",
        "all images",
    )
    for network, own in record["memory"].items():
        for task, row in own.items():
            if isinstance(row, dict):
                few, many = (value for name, value in row.items() if name.endswith("images"))
                kept = [f"{row[n]:.2f}" if n in row else "" for n in ("moments MB", "bound MB")]
                lines.append(
                    f"| {network}, {task} | {kept[0]} | {kept[1]} | {few:.0f} | {many:.0f} |"
                )
    return lines


def zipit(record: dict[str, Any]) -> list[str]:
    """Seconds of ZipIt's merges of many members, beside the official loop within a limit."""
    own = record["zipit"]
    return [
        "| " + " | ".join(own) + " |",
        "|---" * len(own) + "|",
        "| " + " | ".join(map(str, own.values())) + " |",
    ]


PARTS = {"matchers": matchers, "least-squares": least_squares, "memory": memory, "zipit": zipit}


def table(record: dict[str, Any]) -> list[str]:
    """All parts that were measured."""
    lines: list[str] = []
    for name, part in PARTS.items():
        if name in record:
            lines += [*part(record), ""]
    return lines[:-1]
