"""The loss between networks: along the straight line of two, and over the triangle of three.

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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from onefold.arguments import checked
from onefold.batches import Data, as_device, check_reiterable
from onefold.batchnorm import reestimate
from onefold.caches import clear_eval_caches
from onefold.copying import copied
from onefold.errors import DataError, MembersError, SettingError, nearest
from onefold.finite import finite
from onefold.given import same_class
from onefold.inference import OutputChoice
from onefold.inference.running import networks
from onefold.isolation import isolated
from onefold.measure.evaluation import score_networks
from onefold.tasks import AUTO, Bins, Score, Scores, Scoring, TaskChoice, as_scoring
from onefold.tasks.calibration import Binning
from onefold.tasks.metrics import check_chooses

ERROR = "error"  # the loss that is 1 - accuracy
Recalibrate = Callable[[nn.Module], object] | Literal["batchnorm"] | None


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
    repair = _recalibration(recalibrate, calibration_data)
    scores: dict[int, Scores] = {}
    # The ends come first, since there is no barrier without them.
    for i in (0, points - 1, *range(1, points - 1)):
        t = i / (points - 1)
        network = combine(members, (1 - t, t)).to(place)
        repair(network)
        scores[i] = _scores_of(network, data, scoring, output)
        if i in (0, points - 1) and not math.isfinite(loss_of(scores[i], loss)):
            raise MembersError(
                f"The {'first' if i == 0 else 'second'} network has no finite"
                f" {loss_kind(scores[i], loss).label} on the data; a barrier needs two sound ends."
            )
    positions = tuple(i / (points - 1) for i in range(points))
    return LinearPath(
        positions, tuple(scores[i] for i in range(points)), loss, recalibrate is not None
    )


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
    repair = _recalibration(recalibrate, calibration_data)
    weights, scoring = grid(resolution), as_scoring(task, metrics, by)
    scores = []
    for triple in weights:
        network = combine(members, triple).to(place)
        repair(network)
        scores.append(_scores_of(network, data, scoring, output))
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


@checked
@isolated
@torch.no_grad()
def combine(members: Sequence[nn.Module], weights: Sequence[float]) -> nn.Module:
    """A copy of the first network with the weighted sum of all networks' tensors.

    The sum is that of floating parameters and buffers; other buffers are the first one's. Sums run
    in float32 at least. A member of weight 0 is left out, so that (1, 0) gives the first network
    bit for bit.
    """
    result = copied(members[0])
    tensors = [_tensors(member) for member in members]
    for name, target in _tensors(result).items():
        if not (target.is_floating_point() or target.is_complex()):
            continue
        wide = torch.promote_types(target.dtype, torch.float32)
        terms = [
            (table[name].to(target.device, wide), w)
            for table, w in zip(tensors, weights, strict=True)
            if w
        ]
        first, w = terms[0]
        total = first * w
        for term, w in terms[1:]:
            total += term * w
        target.copy_(total)
    clear_eval_caches(result)
    return result


def matching(members: Sequence[nn.Module]) -> list[nn.Module]:
    """The networks as a list, after a check that they have one class and the same tensors.

    Raises:
        MembersError: they differ; the message names the first tensor in which two of them do.
    """
    members = list(networks(members))
    first, reference = members[0], _tensors(members[0])
    for k, member in enumerate(members[1:], start=1):
        if not same_class(member, first):
            raise MembersError(
                f"Member {k} is a {type(member).__name__}, member 0 a {type(first).__name__}; both"
                " must be of one class."
            )
        tensors = _tensors(member)
        for name in (*reference, *tensors):
            if name not in tensors or name not in reference:
                raise MembersError(
                    f"Tensor '{name}' is in member {0 if name in reference else k} only; a line"
                    " needs equal architectures."
                )
            if tensors[name].shape != reference[name].shape:
                shapes = (
                    f"{tuple(tensors[name].shape)} in member {k} and {tuple(reference[name].shape)}"
                    " in member 0"
                )
                raise MembersError(
                    f"Tensor '{name}' has shape {shapes}; a line needs equal architectures."
                )
    return members


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


def _scores_of(network: nn.Module, data: Data, scoring: Scoring, output: OutputChoice) -> Scores:
    return score_networks([network], data, scoring, output=output).members[0]


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict([*module.named_parameters(), *module.named_buffers()])


def above_line(positions: Sequence[float], values: Sequence[float]) -> list[float]:
    """For each position how far its value lies above the straight line between the ends."""
    # The ends lie on their own line: their difference is exactly 0, without rounding.
    inner = zip(positions[1:-1], values[1:-1], strict=True)
    return [0.0, *(value - ((1 - t) * values[0] + t * values[-1]) for t, value in inner), 0.0]


def _recalibration(
    recalibrate: Recalibrate, calibration_data: Data | None
) -> Callable[[nn.Module], object]:
    if recalibrate is None:
        return lambda network: None
    if callable(recalibrate):
        return recalibrate
    if recalibrate != "batchnorm":
        raise SettingError(
            f"There is no recalibration named '{recalibrate}';"
            f" {nearest(recalibrate, ['batchnorm'])}"
        )
    if calibration_data is None:
        raise DataError(
            "Batch-norm statistics need calibration data; pass calibration_data, for example"
            " training batches."
        )
    batches = check_reiterable(calibration_data, "calibration data")
    return lambda network: reestimate(network, batches)
