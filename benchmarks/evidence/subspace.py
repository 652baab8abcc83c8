"""Tables of docs/evidence/subspaces.md: quality and cost of lines, curves and simplexes."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

from benchmarks.evidence.registry import claim, table
from benchmarks.subspace import table as subspace

SHARES = ("0.0", "0.2", "0.4")  # of wrong labels


def quality(share: str, results: dict[str, Any]) -> list[str]:
    """Everything compared at one share of wrong labels, and the paper's claims."""
    return subspace.quality({**results, "noise": {share: results["noise"][share]}})


for network in ("threeconv", "resnet20"):
    for share in SHARES:
        table(f"subspaces, {network}, {100 * float(share):.0f} % wrong")(partial(quality, share))


def steps(case: str, results: dict[str, Any]) -> list[str]:
    """Seconds and memory of a step of one network."""
    return subspace.steps({case: results[case]})


for case in ("ResNet-20, batch 128", "ResNet-18, batch 2, 64x64", "ResNet-18, batch 2, 32x32"):
    table(f"a step of a subspace, {case}")(partial(steps, case))


def gain(results: dict[str, Any], share: str) -> str:
    """The midpoint of a line less plain training, mean over the seeds."""
    seeds = results["noise"][share]["seeds"]
    steps = [seed["line, midpoint"]["accuracy"] - seed["plain"]["accuracy"] for seed in seeds]
    return f"{statistics.mean(steps):+.1f}"


@claim(
    "The midpoint of a line beside plain training, ResNet-20 on 4,000 images",
    "subspaces.md",
    "subspace/quality-resnet20.json",
)
def deep(results: dict[str, Any]) -> str:
    """At every share of wrong labels."""
    right, some, many = (gain(results, share) for share in SHARES)
    return f"{right} points; with 20 % of labels wrong {some}, with 40 % {many}"


@claim(
    "The same, three convolutions on 10,000 images",
    "subspaces.md",
    "subspace/quality-threeconv.json",
)
def shallow(results: dict[str, Any]) -> str:
    """At every share of wrong labels."""
    return deep(results)
