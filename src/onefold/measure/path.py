"""The loss between two networks, along the straight line from one to the other.

With w(t) = (1 - t) w_a + t w_b, the barrier is the most by which the loss rises above the straight
line between the losses of the ends:

    barrier = max_t  L(w(t)) - [(1 - t) L(w_a) + t L(w_b)]

Frankle et al. 2020 (arXiv 1912.05671) compare with the mean of the ends; the straight line is that
of Entezari et al. 2022, "The Role of Permutation Invariance in Linear Mode Connectivity",
definition 1 (arXiv 2110.06296). The dip is the same for the score that decides, downwards.

The loss is that of the task (`onefold.tasks`), or another of its scores, turned so that less is
better: of an accuracy the share of errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from onefold.arguments import checked
from onefold.batches import Data, as_device, check_reiterable
from onefold.errors import MembersError, SettingError, nearest
from onefold.finite import finite
from onefold.inference import OutputChoice
from onefold.isolation import isolated
from onefold.measure.between import Recalibrate, combine, matching, recalibration, scores_of
from onefold.tasks import AUTO, Bins, Score, Scores, TaskChoice, as_scoring
from onefold.tasks.calibration import Binning
from onefold.tasks.metrics import check_chooses

ERROR = "error"  # the loss that is 1 - accuracy


@dataclass(frozen=True)
class LinearPath:
    """Scores along the straight line from one network (position 0) to another (position 1).

    Attributes:
        positions: from 0 to 1.
        scores: of the network at each position.
        loss: the name of the score that `barrier` is of; "" for the task's loss, and "error" for
            the share of wrong answers.
        recalibrated: whether the statistics of the network at each position, the ends included,
            were computed anew.
    """

    positions: tuple[float, ...]
    scores: tuple[Scores, ...]
    loss: str = ""
    recalibrated: bool = False

    @property
    def losses(self) -> tuple[float, ...]:
        """The loss at each position."""
        return tuple(loss_of(scores, self.loss) for scores in self.scores)

    @property
    def barrier(self) -> float:
        """The most by which the loss lies above the straight line between its ends.

        It is in units of the loss and never negative.
        """
        return max(above_line(self.positions, self.losses))

    @property
    def loss_kind(self) -> Score:
        """What the loss means."""
        return loss_kind(self.scores[0], self.loss)

    @property
    def dip(self) -> float:
        """The most by which the deciding score lies below the straight line between its ends.

        It is in units of that score, a fraction of 1 for an accuracy, and never negative. Of a
        score of which less is better it is the most by which it lies above.
        """
        kind = self.scores[0].kind
        return max(
            above_line(self.positions, [-kind.better(scores.primary) for scores in self.scores])
        )

    @property
    def midpoint(self) -> Scores:
        """The scores at the position nearest to one half."""
        return self.scores[
            min(range(len(self.positions)), key=lambda i: abs(self.positions[i] - 0.5))
        ]

    def __repr__(self) -> str:
        return (
            f"LinearPath(points={len(self.positions)}, loss={self.loss_kind.name!r},"
            f" barrier={self.barrier:.4g}, dip={self.dip:.4g},"
            f" recalibrated={self.recalibrated})"
        )

    def __str__(self) -> str:
        kind, loss = self.scores[0].kind, self.loss_kind
        unit = f" {loss.points}" if loss.points else f" ({loss.label})"
        dip = kind.difference(self.dip).removeprefix("+")
        first, last = (kind.shown(self.scores[at].primary) for at in (0, -1))
        lines = [
            f"barrier {loss.scale * self.barrier:.{loss.digits}f}{unit}, {kind.label} dip {dip}"
            f" over {len(self.positions)} points"
            + (", statistics re-estimated at each" if self.recalibrated else ""),
            f"ends {first} and {last}, middle {kind.shown(self.midpoint.primary)}, n ="
            f" {self.scores[0].n}"
            + (
                f", {self.scores[0].ignored} labels that are no class left out"
                if self.scores[0].ignored
                else ""
            ),
        ]
        lines += [
            hint for hint in dict.fromkeys((self.scores[0].hint, self.scores[-1].hint)) if hint
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON; what is not finite becomes a word."""
        found = {
            "positions": list(self.positions),
            "scores": [scores.to_dict() for scores in self.scores],
            "loss": self.loss_kind.name,
            "recalibrated": self.recalibrated,
            "barrier": self.barrier,
            "dip": self.dip,
        }
        return {name: finite(value) for name, value in found.items()}


@checked
@isolated
def barrier(
    a: nn.Module,
    b: nn.Module,
    data: Data,
    *,
    points: int = 11,
    recalibrate: Recalibrate = None,
    calibration_data: Data | None = None,
    loss: str = "",
    task: TaskChoice = AUTO,
    metrics: Any = (),
    by: str | None = None,
    bins: int = 15,
    binning: Binning = "equal-width",
    device: torch.device | str | None = None,
    output: OutputChoice = None,
) -> LinearPath:
    """Score the networks on the straight line from `a` to `b` on labelled data.

    Args:
        a: a network, which stays as it is.
        b: a network of the same class whose tensors have equal names and shapes.
        data: batches with labels, read once for each point.
        points: number of evenly spaced positions, the ends included.
        recalibrate: "batchnorm" re-estimates the batch-norm statistics on `calibration_data` at
            every position; a function may change the network there in place; None leaves the
            interpolated statistics.
        calibration_data: batches for recalibrate="batchnorm"; labels are ignored. Take training
            data, not the data that is scored.
        loss: the score that the barrier is of, turned so that less is better: a score of the task
            or a metric, or "error" for the share of wrong answers; "" is the task's loss.
        task: as in `evaluate`.
        metrics: as in `evaluate`.
        by: as in `evaluate`.
        bins: as in `evaluate`.
        binning: as in `evaluate`.
        device: as in `evaluate`.
        output: as in `evaluate`.

    Raises:
        MembersError: the networks differ in a tensor, which is named, or one of them has no finite
            loss on the data.
        DataError: as `evaluate`, or the data can be read only once.
        SettingError: fewer than three points, or an unknown option.
    """
    if points < 3:
        raise SettingError(
            f"A barrier was asked for with {points} points; give at least 3, since the ends alone"
            " have none."
        )
    scoring = as_scoring(task, metrics, by, Bins(bins, binning))
    members, place = matching([a, b]), as_device(device)
    check_reiterable(data)
    repair = recalibration(recalibrate, calibration_data)
    scores: dict[int, Scores] = {}
    # The ends come first, since there is no barrier without them.
    for i in (0, points - 1, *range(1, points - 1)):
        t = i / (points - 1)
        network = combine(members, (1 - t, t)).to(place)
        repair(network)
        scores[i] = scores_of(network, data, scoring, output)
        if i in (0, points - 1) and not math.isfinite(loss_of(scores[i], loss)):
            raise MembersError(
                f"The {'first' if i == 0 else 'second'} network has no finite"
                f" {loss_kind(scores[i], loss).label} on the data; a barrier needs two sound ends."
            )
    positions = tuple(i / (points - 1) for i in range(points))
    return LinearPath(
        positions, tuple(scores[i] for i in range(points)), loss, recalibrate is not None
    )


def loss_kind(scores: Scores, loss: str) -> Score:
    """What a loss means: a score that is turned so that less is better.

    Raises:
        SettingError: the task has no such score, or nothing says its direction.
    """
    if loss == ERROR and ERROR not in scores.values and "accuracy" in scores.values:
        loss = "accuracy"
    elif loss and loss not in scores.values:
        known = [*scores.values, *([ERROR] if "accuracy" in scores.values else [])]
        raise SettingError(f"There is no loss named '{loss}'; {nearest(loss, known)}")
    kind = scores.kind_of(loss or scores.loss_name)
    check_chooses(kind)
    if kind.highest is False:
        return kind
    label = ERROR if kind.name == "accuracy" else f"{'1' if kind.unit == '%' else '0'} - {kind}"
    return replace(kind, name=ERROR if kind.name == "accuracy" else kind.name, label=label)


def loss_of(scores: Scores, loss: str) -> float:
    """The named loss among the scores; "" is the task's, "error" the share of wrong answers."""
    kind = loss_kind(scores, loss)
    name = "accuracy" if kind.name == ERROR and ERROR not in scores.values else kind.name
    if kind.highest is False:
        return scores[name]
    return (1.0 if kind.unit == "%" else 0.0) - scores[name]


def above_line(positions: Sequence[float], values: Sequence[float]) -> list[float]:
    """For each position how far its value lies above the straight line between the ends."""
    # The ends lie on their own line: their difference is exactly 0, without rounding.
    inner = zip(positions[1:-1], values[1:-1], strict=True)
    return [0.0, *(value - ((1 - t) * values[0] + t * values[-1]) for t, value in inner), 0.0]
