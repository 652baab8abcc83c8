"""Scores over the triangle of three networks.

w(a, b, c) = a w_1 + b w_2 + c w_3,    a + b + c = 1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from onefold.arguments import checked
from onefold.batches import Data, as_device, check_reiterable
from onefold.errors import SettingError
from onefold.inference import OutputChoice
from onefold.isolation import isolated
from onefold.measure.between import Recalibrate, combine, matching, recalibration, scores_of
from onefold.tasks import AUTO, Scores, TaskChoice, as_scoring


@dataclass(frozen=True)
class Triangle:
    """Scores over the triangle of three networks.

    Attributes:
        weights: triples (a, b, c) >= 0 with sum 1.
        scores: of the network at each triple.
        recalibrated: whether the statistics of the network at each triple were computed anew.
    """

    weights: tuple[tuple[float, float, float], ...]
    scores: tuple[Scores, ...]
    recalibrated: bool = False

    def __repr__(self) -> str:
        values, kind = [scores.primary for scores in self.scores], self.scores[0].kind
        return (
            f"Triangle(points={len(self.weights)}, {kind.name}={min(values):.4f} to"
            f" {max(values):.4f}, recalibrated={self.recalibrated})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        weights = [list(triple) for triple in self.weights]
        return {
            "weights": weights,
            "scores": [scores.to_dict() for scores in self.scores],
            "recalibrated": self.recalibrated,
        }


@checked
@isolated
def triangle(
    a: nn.Module,
    b: nn.Module,
    c: nn.Module,
    data: Data,
    *,
    resolution: int = 6,
    recalibrate: Recalibrate = None,
    calibration_data: Data | None = None,
    task: TaskChoice = AUTO,
    metrics: Any = (),
    by: str | None = None,
    device: torch.device | str | None = None,
    output: OutputChoice = None,
) -> Triangle:
    """Score the networks of the triangle between three.

    There are (resolution + 1)(resolution + 2)/2 evenly spaced points.

    Args:
        a: the first corner.
        b: the second corner.
        c: the third corner.
        data: batches with labels, read once for each point.
        resolution: the number of steps along an edge.
        recalibrate: as in `barrier`.
        calibration_data: as in `barrier`.
        task: as in `evaluate`.
        metrics: as in `evaluate`.
        by: as in `evaluate`.
        device: as in `evaluate`.
        output: as in `evaluate`.

    Raises:
        MembersError, DataError: as `barrier`.
        SettingError: the resolution is below 1.
    """
    if resolution < 1:
        raise SettingError(
            f"A triangle was asked for with resolution {resolution}; give at least 1 step along an"
            " edge."
        )
    members, place = matching([a, b, c]), as_device(device)
    check_reiterable(data)
    repair = recalibration(recalibrate, calibration_data)
    weights, scoring = grid(resolution), as_scoring(task, metrics, by)
    scores = []
    for triple in weights:
        network = combine(members, triple).to(place)
        repair(network)
        scores.append(scores_of(network, data, scoring, output))
    return Triangle(weights, tuple(scores), recalibrate is not None)


def grid(resolution: int) -> tuple[tuple[float, float, float], ...]:
    """Evenly spaced weights (a, b, c) >= 0 with sum 1, from the first corner on.

    There are `resolution` steps along an edge.
    """
    counts = [
        (i, j, resolution - i - j)
        for i in range(resolution, -1, -1)
        for j in range(resolution - i, -1, -1)
    ]
    return tuple((i / resolution, j / resolution, k / resolution) for i, j, k in counts)


__all__ = ["Triangle", "grid", "triangle"]
