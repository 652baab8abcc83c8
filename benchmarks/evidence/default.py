"""Tables of docs/evidence/default.md: the default on groups of known answer, and its cost."""

from __future__ import annotations

from typing import Any

from benchmarks.default import cost_table
from benchmarks.default.table import groups, mean_gain, rows_of, share_of_best
from benchmarks.evidence.registry import claim, table


@table("the default on groups of known answer")
def known(results: dict[str, Any]) -> list[str]:
    """One row for each group, without and with labels."""
    return groups(results)


@table("what the default costs")
def cost(results: dict[str, Any]) -> list[str]:
    """Seconds beside the cheapest single method."""
    return cost_table.table(results)


@claim("The default without labels: members of the same data", "default.md", "default/results.json")
def same(results: dict[str, Any]) -> str:
    """The mean gain in points, over the groups of that kind."""
    rows = rows_of(results, "without")
    count = sum(row.kind == "same" for row in rows)
    return f"mean gain {mean_gain(rows, 'same'):+.2f} points over {count} groups"


@claim(
    "The default without labels: members that know different classes",
    "default.md",
    "default/results.json",
)
def different(results: dict[str, Any]) -> str:
    """The mean gain, and its share of what the best of twelve candidates gains."""
    rows = rows_of(results, "without")
    count = sum(row.kind == "different" for row in rows)
    return (
        f"mean gain {mean_gain(rows, 'different'):+.1f} points over {count} groups,"
        f" {100 * share_of_best(rows, 'different'):.0f} % of the best candidate's"
    )
