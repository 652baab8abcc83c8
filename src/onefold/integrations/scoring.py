"""Scores of networks that a loop is training, taken beside the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from onefold.batches import Data
from onefold.batchnorm import norms_of
from onefold.explore import Subspace
from onefold.fold import recalibrate
from onefold.isolation import isolated
from onefold.measure import evaluate
from onefold.tasks import AUTO, TaskChoice

# From a network to its scores by name.
Score = Callable[[nn.Module], Mapping[str, float]]
STATISTICS = 50  # batches of the loop's training data for the statistics of batch norms


def points_of(
    space: Subspace, ends: bool, statistics: Data | None
) -> Iterator[tuple[str, nn.Module]]:
    """The midpoint and the ends of a subspace, one network after the other, with their names.

    The ends of a line or curve are its first and last vertex, those of a simplex all vertices.
    """
    yield "midpoint", space.midpoint(statistics)
    if ends:
        last = space.shape.vertices - 1
        for k in range(last + 1) if space.shape.name == "simplex" else (0, last):
            yield f"vertex_{k}", space.vertex(k, statistics)


def with_own_statistics(network: nn.Module, statistics: Data | None) -> nn.Module:
    """The network in evaluation mode, its batch norms re-estimated in place if it has any."""
    network.eval()
    if statistics is not None and norms_of(network):
        recalibrate(network, statistics)
    return network


@isolated
def scores_of(
    network: nn.Module,
    data: Data | None,
    score: Score | None,
    task: TaskChoice = AUTO,
    metrics: Any = (),
) -> dict[str, float]:
    """The scores of a network by name.

    Args:
        network: in evaluation mode.
        data: held-out batches; they are read only if there is no `score`.
        score: the user's own; None for all scores of the task, and for the metrics.
        task: as in `onefold.evaluate`.
        metrics: as in `onefold.evaluate`.
    """
    if score is not None:
        with torch.no_grad():
            return {name: float(value) for name, value in score(network).items()}
    assert data is not None
    return dict(evaluate(network, data, task=task, metrics=metrics).values)
