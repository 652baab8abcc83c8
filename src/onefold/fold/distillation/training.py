"""The steps of a distillation: Adam on the divergence.

Networks of low precision are trained in float32: the optimiser holds the weights in full, and the
network gets them rounded after every step.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from onefold.batches import dtype_of
from onefold.batchnorm import norms_of, reestimate
from onefold.errors import DataError
from onefold.fold.distillation.aims import Lessons
from onefold.fold.distillation.estimate import estimated_seconds, told
from onefold.fold.distillation.rates import rate
from onefold.fold.distillation.settings import Polish, Polished
from onefold.progress import track

M = TypeVar("M", bound=nn.Module)
CLIP = 5.0  # the longest gradient


class Optimizer:
    """Adam on the floating-point parameters of a network.

    Args:
        network: the network, whose parameters say by `requires_grad` what is trained.
        settings: rate and schedule.
        total: number of steps.
    """

    def __init__(self, network: nn.Module, settings: Polish, total: int) -> None:
        self.trained = [p for p in network.parameters() if p.requires_grad]
        self._wide = dtype_of(network) in (torch.float32, torch.float64)
        self._full = (
            self.trained
            if self._wide
            else [p.detach().float().requires_grad_() for p in self.trained]
        )
        self._adam = torch.optim.Adam(self._full, settings.lr)
        self._rate = torch.optim.lr_scheduler.LambdaLR(
            self._adam, lambda step: rate(step, total, settings.schedule, settings.warmup)
        )

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of the loss, which is cut to a length of CLIP."""
        gradients = torch.autograd.grad(loss, self.trained, allow_unused=True)
        for parameter, gradient in zip(self._full, gradients, strict=True):
            parameter.grad = None if gradient is None else gradient.to(parameter.dtype)
        torch.nn.utils.clip_grad_norm_(self._full, CLIP)
        self._adam.step()
        self._rate.step()
        if self._wide:
            return
        with torch.no_grad():
            for parameter, narrow in zip(self._full, self.trained, strict=True):
                narrow.copy_(parameter)


def train(student: M, lessons: Lessons, settings: Polish, result: Polished[M]) -> None:
    """Train the student in all passes, and enter the numbers into `result`.

    Args:
        student: trained in place, in eval mode but for the batch norms that are to be trained.
        lessons: the batches and the ensemble's answers.
        settings: of the distillation.
        result: gets divergence, steps, examples and times.

    Raises:
        DataError: a loss is not finite.
    """
    count = lessons.count()
    result.estimated_seconds = estimated_seconds(student, lessons, settings.passes, count)
    start = time.perf_counter()
    if settings.batchnorm != "eval":
        for norm in norms_of(student):
            norm.train()
    optimizer = Optimizer(student, settings, settings.passes * count)
    steps = (
        (number, batch, aim)
        for number in range(settings.passes)
        for batch, aim in lessons.one_pass()
    )
    title = f"polish{told(result.estimated_seconds)}"
    losses: list[tuple[int, float, int]] = []
    for number, batch, aim in track(steps, title, settings.passes * count):
        loss = lessons.loss(student, batch, aim)
        if not bool(torch.isfinite(loss)):
            raise DataError(
                f"The divergence from the ensemble is not finite at {batch.describe()} in pass"
                f" {number}; check the data, the views and the members, or take a lower rate."
            )
        optimizer.step(loss)
        losses.append((number, float(loss.detach()), batch.size))
    _enter(losses, settings.passes, result)
    if settings.batchnorm == "reestimate":
        reestimate(student, lessons.data)
    result.seconds = time.perf_counter() - start


def _enter(losses: Sequence[tuple[int, float, int]], passes: int, result: Polished[M]) -> None:
    """The first loss, the mean of every pass, the steps, and the examples of a pass."""
    result.start = losses[0][1]
    for number in range(passes):
        own = [(loss, size) for k, loss, size in losses if k == number]
        result.examples = sum(size for _, size in own)
        result.divergence.append(sum(loss * size for loss, size in own) / result.examples)
    result.steps = len(losses)
