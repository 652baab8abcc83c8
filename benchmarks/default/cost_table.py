"""The table of what the default costs, from the seconds that cost.py measured."""

from __future__ import annotations

import statistics
from typing import Any


def table(record: dict[str, Any]) -> list[str]:
    """One row for each network and way."""
    lines = [
        "| network | way | seconds | times the average after permutation | chosen |",
        "|---" * 5 + "|",
    ]
    for network, ways in record.items():
        cheap = ways["permutation"]["seconds"]
        for name, way in ways.items():
            ratio = statistics.median(a / b for a, b in zip(way["seconds"], cheap, strict=True))
            seconds = statistics.median(way["seconds"])
            lines.append(f"| {network} | {name} | {seconds:.2f} | {ratio:.2f} | {way['choice']} |")
    return lines
