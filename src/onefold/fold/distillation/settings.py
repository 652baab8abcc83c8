"""The settings of a distillation, and its result."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

from torch import nn

from onefold.arguments import check_fields
from onefold.ensemble.names import EnsembleName, check_ensemble
from onefold.ensemble.pool import ClassPool
from onefold.errors import SettingError, nearest
from onefold.fold.distillation.rates import SCHEDULES
from onefold.fold.distillation.views import View, check_views

M = TypeVar("M", bound=nn.Module)
NOTHING = 1e-3  # nats: a divergence that is none
STATISTICS = ("eval", "train", "reestimate")
TOLD = ("ensemble", "lr", "views", "temperature", "schedule", "warmup", "batchnorm")


@dataclass(frozen=True)
class Polish:
    """The settings of a distillation.

    Attributes:
        passes: passes over the data.
        lr: the highest learning rate of Adam.
        ensemble: the ensemble that is distilled: the mean of "logits" or outputs, the mean of the
            "probabilities", or a pool of them (`onefold.class_pool`). "classes" is the pool that is
            estimated from the data, whose classes are taken to be even. None: the ensemble that the
            fold aims at, which is "logits" for most.
        batchnorm: "eval" leaves the running statistics as they are, so that every step computes the
            function that is returned; "train" normalises by each batch and updates the statistics;
            "reestimate" does so and at the end measures them anew on the data, without views.
            Dropout is off in all.
        views: how inputs are changed anew in every pass, for teachers and student alike: "none",
            "crops", "flips", "crops_flips" or "mixed", several joined by "+", or in Python a
            function of a batch's input. With views the ensemble is asked about every batch of every
            pass.
        temperature: what the logits of both sides are divided by; the loss is multiplied by its
            square, so that gradients keep their size.
        schedule: how the rate falls to 0, "linear" or "cosine".
        warmup: the share of the steps over which the rate rises to `lr`.
    """

    passes: int = 3
    lr: float = 1e-4
    ensemble: EnsembleName | ClassPool | None = None
    batchnorm: str = "eval"
    views: str | View = "none"
    temperature: float = 1.0
    schedule: str = "linear"
    warmup: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            SettingError: one of them is unusable.
        """
        check_fields(self)
        if self.passes < 1:
            raise SettingError(
                f"Distillation was asked for {self.passes} passes; it needs at least 1."
            )
        for name in ("lr", "temperature"):
            if not 0 < getattr(self, name) < float("inf"):
                what = "rate" if name == "lr" else name
                raise SettingError(
                    f"The {what} of distillation is {getattr(self, name)}; it must be greater than"
                    " 0."
                )
        if not 0 <= self.warmup < 1:
            raise SettingError(
                f"The warmup of distillation is {self.warmup}; give a share of the steps from 0 on"
                " and below 1."
            )
        if self.ensemble is not None:
            check_ensemble(self.ensemble)
        if self.batchnorm not in STATISTICS:
            raise SettingError(
                "Batch norm can be polished in mode 'eval', 'train' or 'reestimate', not"
                f" {self.batchnorm!r}."
            )
        if self.schedule not in SCHEDULES:
            raise SettingError(
                f"Distillation has no schedule {self.schedule[:60]!r};"
                f" {nearest(self.schedule, SCHEDULES)}"
            )
        check_views(self.views)


def as_polish(polish: int | Polish) -> Polish | None:
    """A number of passes as settings; None for 0 passes.

    Raises:
        SettingError: the number is negative.
    """
    if isinstance(polish, Polish):
        return polish
    if polish < 0:
        raise SettingError(
            f"polish is {polish}; it is a number of passes over the calibration data, 0 or"
            " more, or onefold.Polish(passes=...)."
        )
    return Polish(passes=polish) if polish else None


@dataclass(repr=False)
class Polished(Generic[M]):
    """The distilled network, and the numbers of the distillation.

    Attributes:
        model: the network.
        passes: passes over the data.
        ensemble: the name of the ensemble that was distilled.
        examples: the examples of a pass.
        steps: the steps of the optimiser.
        divergence: the mean loss of every pass: for classifiers in nats, the KL divergence at the
            temperature, times its square.
        start: the loss of the first step, before anything was trained.
        classes: the pool that was distilled, if any (`ClassPool.to_dict`).
        lr: the highest learning rate.
        batchnorm: "eval", "train" or "reestimate".
        views: the name of the views.
        temperature: of the softmax of both sides.
        schedule: "linear" or "cosine".
        warmup: the share of the steps over which the rate rose.
        estimated_seconds: what it was expected to take, from one step that was timed before.
        seconds: what it took.
        seed: of the order of the batches and of the views.
        task: the name of the task.
        unit: of the divergence.
    """

    model: M
    passes: int
    ensemble: str
    examples: int = 0
    steps: int = 0
    divergence: list[float] = field(default_factory=list)
    start: float = 0.0
    classes: dict[str, Any] | None = None
    lr: float = 0.0
    batchnorm: str = "eval"
    views: str = "none"
    temperature: float = 1.0
    schedule: str = "linear"
    warmup: float = 0.0
    estimated_seconds: float = 0.0
    seconds: float = 0.0
    seed: int = 0
    task: str = "classification"
    unit: str = "nats"

    @property
    def notes(self) -> list[str]:
        """What the user should know, as that the network went away from the ensemble."""
        last = self.divergence[-1] if self.divergence else 0.0
        if last <= max(self.start, NOTHING):
            return []
        return [
            f"the divergence from the ensemble went up in distillation, from {self.start:.3g} to"
            f" {last:.3g} {self.unit}; take a lower rate, more passes, or batchnorm='reestimate'"
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without the network."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "model"}

    def __repr__(self) -> str:
        return (
            f"Polished({type(self.model).__name__}, {self.passes} passes of {self.examples}"
            f" examples, divergence {self.divergence[-1] if self.divergence else None})"
        )
