"""The tables of merging up to a place, from partial.py's record."""

from __future__ import annotations

from typing import Any


def network(own: dict[str, Any]) -> list[str]:
    """Accuracy and cost of one pair of members, one row for each place."""
    ways, ensemble = list(own["ways"]), own["ensemble"]
    lines = [
        f"| merged up to | share of layers | parameters | multiply-adds | {' | '.join(ways)} |",
        f"|---{'|---' * (len(ways) + 3)}|",
        "| nothing (ensemble) | 0 | 2 | 2 |"
        f" {' | '.join([str(ensemble['accuracy'])] * len(ways))} |",
    ]
    for until, row in own["ways"][ways[0]].items():
        cells = [str(own["ways"][way].get(until, {}).get("accuracy", "-")) for way in ways]
        lines.append(
            f"| {until} | {row['share']:.2f} | {row['parameters']:.2f} |"
            f" {row['multiply-adds']:.2f} | {' | '.join(cells)} |"
        )
    return lines


def table(record: dict[str, Any]) -> list[str]:
    """All pairs, each with its members' accuracies above."""
    lines: list[str] = []
    for name, own in record.items():
        each = " / ".join(str(x) for x in own["ensemble"]["each"])
        lines += ["", f"{name}: members {each}", "", *network(own)]
    return lines
