"""The average of the weights that the last steps of a training went through.

    uniform        a_n = a_(n-1) + (w_n - a_(n-1)) / n             n = 1, 2, ... averaged steps
    exponential    a_n = decay a_(n-1) + (1 - decay) w_n,          a_1 = w_1

Izmailov, Podoprikhin, Garipov, Vetrov & Wilson 2018, "Averaging Weights Leads to Wider Optima and
Better Generalization" (arXiv 1803.05407), for the first; Polyak & Juditsky 1992 for averages of
iterates. The sums are those of torch.optim.swa_utils.AveragedModel, which is used as it is. What is
added here: when averaging begins, as a share of the training; batch-norm statistics that are
re-estimated for the average; and a state that a broken-off training continues from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from onefold.arguments import check_fields
from onefold.batches import Data
from onefold.batchnorm import norms_of
from onefold.copying import copied
from onefold.errors import SettingError, nearest
from onefold.integrations.loaders import order_kept
from onefold.integrations.scoring import with_own_statistics

Kind = Literal["uniform", "exponential"]
KINDS: tuple[Kind, ...] = ("uniform", "exponential")
AVERAGED, SEEN = "averaged", "seen"  # entries of a state beside those of the network


@dataclass(frozen=True)
class Average:
    """Which steps of a training are averaged, and how.

    Attributes:
        kind: "uniform", all averaged steps alike, or "exponential", the last ones most.
        start: averaging begins after this share of the training's steps if below 1, else after so
            many steps.
        every: averages every so many optimiser steps.
        decay: of the exponential average, for each averaged step.
    """

    kind: Kind = "uniform"
    start: float = 0.75
    every: int = 1
    decay: float = 0.999

    def __post_init__(self) -> None:
        check_fields(self)
        if self.kind not in KINDS:
            raise SettingError(f"There is no average '{self.kind}'; {nearest(self.kind, KINDS)}")
        if not 0 <= self.start < math.inf or self.every < 1 or not 0 < self.decay < 1:
            raise SettingError(
                "An average begins at a start of 0 or more, takes every 1st step or fewer, and has"
                f" a decay between 0 and 1, not start={self.start}, every={self.every},"
                f" decay={self.decay}."
            )

    def first_step(self, total: float) -> int:
        """The number of steps after which averaging begins, of a training of `total` steps.

        Raises:
            SettingError: `start` is a share, and the training does not say how long it is.
        """
        if self.start >= 1:
            return math.ceil(self.start)
        if not math.isfinite(total):
            raise SettingError(
                f"start={self.start} is a share of the training's steps, but their number is not"
                " known; give start as a number of steps, or limit the training."
            )
        return math.floor(self.start * total)


def as_average(average: str | Average) -> Average:
    """An average by its kind, or as it is.

    Raises:
        SettingError: there is no such kind.
    """
    if isinstance(average, Average):
        return average
    if average not in KINDS:
        raise SettingError(f"There is no average '{average}'; {nearest(average, KINDS)}")
    return Average("uniform" if average == "uniform" else "exponential")


class AverageOfTraining:
    """What the callbacks of all loops share: the running average, and the network that it gives."""

    _running: RunningAverage | None = None
    _batches: Data | None = None  # of the loop, for the statistics of batch norms

    def averaged(self, data: Data | None = None) -> nn.Module:
        """The averaged network, a copy in evaluation mode.

        Args:
            data: training batches for the statistics of batch norms; None for those of the loop.

        Raises:
            SettingError: no step has been averaged yet, or there is batch norm and no data.
        """
        if self._running is None:
            raise SettingError("No training has begun yet; call averaged() after the training.")
        data = data if data is not None else self._batches
        with order_kept(data):
            return self._running.network(data)


class RunningAverage:
    """The average of a network that is being trained.

    Args:
        network: is read after every step and never changed.
        settings: which steps are averaged.
        total: steps of the whole training.

    Attributes:
        seen: optimiser steps so far.
    """

    def __init__(self, network: nn.Module, settings: Average, total: float) -> None:
        self.source, self.settings = network, settings
        self.first, self.seen = settings.first_step(total), 0
        self._model: AveragedModel | None = None
        exponential: Any = get_ema_multi_avg_fn
        self._function = exponential(settings.decay) if settings.kind == "exponential" else None

    @property
    def averaged(self) -> int:
        """How many steps have been averaged."""
        return 0 if self._model is None else int(self._model.n_averaged)

    def step(self) -> None:
        """Take up the network as it is after one more step of the optimiser."""
        self.seen += 1
        if self.seen > self.first and (self.seen - self.first - 1) % self.settings.every == 0:
            self._started().update_parameters(self.source)

    def network(self, statistics: Data | None) -> nn.Module:
        """A copy of the averaged network in evaluation mode.

        Args:
            statistics: training batches, on which the statistics of batch norms are re-estimated.

        Raises:
            SettingError: no step has been averaged yet, or there is batch norm and no data.
        """
        if self._model is None:
            raise SettingError(
                f"No step has been averaged yet: averaging begins after step {self.first}, and"
                f" {self.seen} were taken; let it start earlier."
            )
        result = copied(self.source)
        own = dict([*result.named_parameters(), *result.named_buffers()])
        with torch.no_grad():
            for name, tensor in self._tensors(self._model).items():
                own[name].copy_(tensor)
        if statistics is None and norms_of(result):
            raise SettingError(
                "The averaged network has batch norm, whose statistics belong to no single step;"
                " pass training batches to re-estimate them on."
            )
        return with_own_statistics(result, statistics)

    def state(self) -> dict[str, Tensor]:
        """All that the average goes on from: named tensors, on the CPU."""
        state = {SEEN: torch.tensor(self.seen)}
        if self._model is not None:
            state[AVERAGED] = self._model.n_averaged.detach().cpu().clone()
            for name, tensor in self._tensors(self._model).items():
                state[f"module.{name}"] = tensor.detach().cpu().clone()
        return state

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` returned.

        Raises:
            SettingError: it is the state of another network.
        """
        self.seen = int(state[SEEN])
        if AVERAGED not in state:
            return
        model = self._started()
        own = {f"module.{name}": tensor for name, tensor in self._tensors(model).items()}
        if own.keys() != state.keys() - {SEEN, AVERAGED} or any(
            tensor.shape != state[name].shape for name, tensor in own.items()
        ):
            raise SettingError(
                "The average in the checkpoint is of another network; average the same one as"
                " before, or begin anew."
            )
        with torch.no_grad():
            model.n_averaged.copy_(state[AVERAGED])
            for name, tensor in own.items():
                tensor.copy_(state[name])

    def _started(self) -> AveragedModel:
        if self._model is None:
            self._model = AveragedModel(self.source, multi_avg_fn=self._function)
        return self._model

    @staticmethod
    def _tensors(model: AveragedModel) -> dict[str, Tensor]:
        return dict([*model.module.named_parameters(), *model.module.named_buffers()])
