"""The rows of one group: members, their ensemble and every way, on the test examples.

A row holds the value of the task's own score, and how far it is ahead of the best member and of the
ensemble, each with its paired standard error. Above 0 is better, whatever the score's direction.
Which member is best is decided by the labelled choice examples.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

import onefold
from benchmarks.tasks.examples import Parts
from benchmarks.tasks.members import members
from benchmarks.tasks.registry import Benchmark, Group
from benchmarks.tasks.ways import WAYS
from onefold.errors import OnefoldError
from onefold.measure.paired import difference

ENSEMBLE = "ensemble"


class GroupRun:
    """One group: its members, scored once, and rows against them."""

    def __init__(self, benchmark: Benchmark, group: Group, parts: Parts) -> None:
        self.benchmark, self.group, self.parts = benchmark, group, parts
        self.members = members(benchmark, group)
        self.models: list[nn.Module] = [member.model(parts) for member in self.members]
        self.test, choices = parts.test.batches(), parts.choices.batches()
        held_out = [self.scored(model, choices) for model in self.models]
        self.best = max(range(len(held_out)), key=lambda k: held_out[k].rank)
        self.scores = [self.scored(model) for model in self.models]
        self.ensemble = self.scored(self.models)

    def scored(self, judged: Any, data: Any = None) -> Any:
        """The scores of a network or of several as one, on the test examples if nothing is said."""
        data = self.test if data is None else data
        return onefold.evaluate(judged, data, task=self.benchmark.task)

    def facts(self) -> dict[str, Any]:
        """What is known before any fold."""
        return {
            "known": self.group.known,
            "members": [
                {"seen": one.seen, "seed": one.seed, "seconds": one.seconds} for one in self.members
            ],
            "best": self.best,
            "parameters": sum(p.numel() for p in self.models[0].parameters()),
        }

    def told(self, scores: Any) -> dict[str, Any]:
        """A row of scores."""
        return {
            "value": _rounded(scores.primary),
            "scores": {name: _rounded(value) for name, value in scores.values.items()},
            "to best": _ahead(scores, self.scores[self.best]),
            "to ensemble": _ahead(scores, self.ensemble),
        }

    def row(self, name: str) -> dict[str, Any]:
        """The row of a member, of the ensemble or of a way."""
        if name == ENSEMBLE:
            return self.told(self.ensemble)
        if name not in WAYS:
            return self.told(self.scores[int(name.split()[-1])])
        start = time.process_time()
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                model, choice = WAYS[name](self.models, self.benchmark.task, self.parts)
            seconds = time.process_time() - start
            row = self.told(self.scored(model))
        except OnefoldError as error:
            return {"why not": str(error)}
        notes = {str(one.message) for one in caught if "onefold" in one.filename}
        return row | {"seconds": round(seconds, 1), "choice": choice, "notes": sorted(notes)}

    def names(self) -> list[str]:
        """All rows, in order."""
        return [*(f"member {k}" for k in range(len(self.models))), ENSEMBLE, *WAYS]


def measured(
    benchmark: Benchmark,
    record: dict[str, Any],
    keep: Callable[[], None],
    told: Callable[[str], None] = print,
    skip: Sequence[str] = (),
) -> None:
    """Fill a record with all rows that it lacks; `keep` writes it after every row.

    A row that is measured later stands in its place in the order of rows.
    """
    parts = benchmark.load(benchmark.sizes)
    record.update(name=benchmark.name, task=benchmark.task)
    record.update(title=benchmark.title, shares=benchmark.shares)
    record.setdefault("groups", {})
    for group in benchmark.groups:
        own = GroupRun(benchmark, group, parts)
        kind = own.ensemble.kind
        record["score"] = {
            "label": kind.label,
            "unit": kind.unit,
            "highest": kind.highest,
            "scale": kind.scale,
        }
        entry = record["groups"].setdefault(group.name, {"rows": {}})
        rows = entry.pop("rows")
        entry.update(own.facts(), rows=rows)
        for name in own.names():
            if name not in rows and name not in skip:
                rows[name] = own.row(name)
                entry["rows"] = rows = {n: rows[n] for n in own.names() if n in rows}
                keep()
                found = rows[name].get("value", rows[name].get("why not"))
                told(f"{benchmark.name}, {group.name}, {name}: {found}")


def _ahead(scores: Any, other: Any) -> dict[str, Any]:
    """How far the first is ahead, and the standard error of that."""
    found = difference(scores, other)
    return {"gain": _rounded(found.gain + 0.0), "error": _rounded(found.error)}


def _rounded(value: float) -> float | str:
    return round(value, 6) if math.isfinite(value) else str(value)
