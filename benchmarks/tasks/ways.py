"""Every way to make one network of a group's members that the benchmark measures, as a user calls
it: the defaults of onefold, and the task by its name.

A way gets the members, the task and the parts of the data, and returns the network and what was
chosen, in words ("" where nothing is chosen).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

import onefold
from benchmarks.tasks.examples import Parts

PASSES = 3  # of polish
Way = Callable[[Sequence[nn.Module], str, Parts], tuple[nn.Module, str]]


def _merged(**options: Any) -> Way:
    """A merge from unlabelled examples."""

    def way(models: Sequence[nn.Module], task: str, parts: Parts) -> tuple[nn.Module, str]:
        result = onefold.merge(models, parts.unlabelled.unlabelled(), task=task, **options)
        return result.model, ""

    return way


def _default(labels: bool) -> Way:
    """The merge that names no fold."""

    def way(models: Sequence[nn.Module], task: str, parts: Parts) -> tuple[nn.Module, str]:
        more: dict[str, Any] = {"validation": parts.choices.batches()} if labels else {}
        result = onefold.merge(models, parts.unlabelled.unlabelled(), task=task, **more)
        report = result.report
        choice = report.folded.get("choice")
        return result.model, str(choice or f"{report.fold}, {report.align}")

    return way


def _gates(level: str) -> Way:
    """Gates that are learned on the labelled choice examples, a part of which decides."""

    def way(models: Sequence[nn.Module], task: str, parts: Parts) -> tuple[nn.Module, str]:
        soft = onefold.SoftMerge(models, level=level)
        result = onefold.fit_gates(soft, parts.choices.batches(), task=task)
        return result.model, result.choice

    return way


WAYS: dict[str, Way] = {
    "plain average": _merged(align="none", fold="average"),
    "average after permutation": _merged(align="permutation", fold="average"),
    "least squares": _merged(fold="least_squares"),
    "least squares, polished": _merged(fold="least_squares", polish=PASSES),
    "gates of networks": _gates("model"),
    "gates of layers": _gates("layer"),
    "the default": _default(labels=False),
    "the default, with labels": _default(labels=True),
}
