"""Tables of docs/evidence/tasks.md: folds of every kind of task, each in its own score."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.evidence.registry import claim, table
from benchmarks.tasks.registry import MODULES
from benchmarks.tasks.table import details, glance

FILES = tuple(f"tasks/{name}.json" for name in MODULES)


@table("tasks at a glance")
def at_a_glance(*records: dict[str, Any]) -> list[str]:
    """One row for each group of every task."""
    return glance(records)


def _one(record: dict[str, Any]) -> list[str]:
    return details(record)


for each in MODULES:
    table(f"tasks, {each}")(partial(_one))


def counted(records: tuple[dict[str, Any], ...], group: str, way: str) -> tuple[int, int, int]:
    """In how many tasks a way is ahead of the best member by two standard errors, in how many it is
    behind it by as much, and in how many it was measured.
    """
    steps = [record["groups"][group]["rows"].get(way, {}).get("to best") for record in records]
    found = [step for step in steps if step is not None]
    ahead = sum(step["gain"] > 2 * step["error"] for step in found)
    return ahead, sum(step["gain"] < -2 * step["error"] for step in found), len(found)


@claim(
    "Tasks outside image classification, members of different shares: the default without labels",
    "tasks.md",
    *FILES,
)
def default_of_shares(*records: dict[str, Any]) -> str:
    """Where it is ahead of the best member beyond two standard errors, and where behind."""
    return _counts(records, "different", "the default")


@claim(
    "Tasks outside image classification, members of the same data: the default without labels",
    "tasks.md",
    *FILES,
)
def default_of_same(*records: dict[str, Any]) -> str:
    """Where it is ahead of the best member beyond two standard errors, and where behind."""
    return _counts(records, "same", "the default")


def _counts(records: tuple[dict[str, Any], ...], group: str, way: str) -> str:
    ahead, behind, count = counted(records, group, way)
    return f"clearly ahead of the best member in {ahead} of {count}, clearly behind in {behind}"
