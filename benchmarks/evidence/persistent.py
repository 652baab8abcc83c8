"""Tables of docs/evidence/persistent_neurons.md: rounds beside restarts and controls."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

from benchmarks.evidence.registry import claim, table
from benchmarks.persistent import table as persistent


def small(task: str, results: dict[str, Any]) -> list[str]:
    """How often each way finds the best well, or the kink."""
    return persistent.small(task, results["tasks"][task], results)


for task in ("six fixed landscapes", "150 landscapes drawn for each seed", "kink"):
    table(f"rounds, {task}")(partial(small, task))
for title in persistent.TITLES.values():
    table(f"rounds, {title}")(persistent.images)


def steps(case: str, results: dict[str, Any]) -> list[str]:
    """Milliseconds of a step of one network."""
    return persistent.steps({case: results[case]})


for case in ("LeNet-5, batch 128", "ResNet-20, batch 128"):
    table(f"a step of a round, {case}")(partial(steps, case))


def best(ways: dict[str, Any], way: str) -> float:
    """Accuracy of the best round, mean over the seeds, %."""
    return statistics.mean(one["best"] for one in ways[way])


@claim(
    "Persistent rounds from a poor start, LeNet-5: the best of three",
    "persistent_neurons.md",
    "persistent/lenet-tiny.json",
)
def poor(results: dict[str, Any]) -> str:
    """Beside restarts and the uninformed control."""
    ways = results["ways"]
    return (
        f"{best(ways, 'gaussian, all'):.1f} %; the best of three restarts"
        f" {best(ways, 'restarts'):.1f}, the uninformed control"
        f" {best(ways, 'control of gaussian, all'):.1f}"
    )


@claim("The same from a good start", "persistent_neurons.md", "persistent/lenet-good.json")
def good(results: dict[str, Any]) -> str:
    """Beside restarts, and the ensembles."""
    ways = results["ways"]
    whole = {
        way: statistics.mean(one["ensemble"] for one in ways[way])
        for way in ("gaussian, all", "restarts")
    }
    return (
        f"{best(ways, 'gaussian, all'):.1f} %, restarts {best(ways, 'restarts'):.1f}; their"
        f" ensembles {whole['gaussian, all']:.1f} and {whole['restarts']:.1f}"
    )
