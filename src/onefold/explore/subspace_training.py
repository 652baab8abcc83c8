"""Train a subspace by stochastic gradient descent, on any device, in any precision, in one process or several.

    loss = cross-entropy at the drawn point + beta cos^2(v_i, v_j)

The learning rate rises for the warm-up and falls as half a cosine (Loshchilov & Hutter 2017, arXiv 1608.03983). It is a function of the step
alone, as the order of the batches is one of the epoch, so that a run that was broken off goes on from the last epoch as if it never had been.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn, optim
from torch.nn import functional

from onefold.batches import Batch, dtype_of, forward, logits_of
from onefold.errors import DataError, SubspaceError
from onefold.explore.epochs import Epochs, generators_kept, share
from onefold.explore.subspace import Subspace
from onefold.progress import track

State = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """How to train. epochs: passes over the data, of `steps` steps each; warm_up: epochs in which the rate rises, None for a tenth, at most 5."""

    epochs: int
    steps: int
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warm_up: float | None = None

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0 over all epochs."""
        warm = (min(5.0, self.epochs / 10) if self.warm_up is None else self.warm_up) * self.steps
        if step + 1 < warm:
            return self.learning_rate * (step + 1) / warm
        done = min((step - warm) / max(self.epochs * self.steps - warm, 1.0), 1.0)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * max(done, 0.0)))


def train(fabric: Any, space: Subspace, epochs: Epochs, training: Training, before: Mapping[str, Any] | None, keep: Callable[[State], None]) -> None:
    """Train `space` in place.

    Args:
        fabric: a launched lightning_fabric.Fabric, which knows device, precision and the other processes.
        epochs: the batches; each process takes its share of every one.
        before: what `keep` was given last by a run that was broken off; None begins.
        keep: is given, in the first process and after every epoch, all that the epochs to come depend on: plain containers, numbers, tensors.

    Raises:
        SubspaceError: the loss is not finite. DataError: the network cannot run on a batch, or its outputs do not fit the labels.
    """
    inputs = dtype_of(space)  # of the batches, whatever precision the network is given
    optimiser = optim.SGD(space.parameters(), training.learning_rate, momentum=training.momentum, weight_decay=training.weight_decay)
    module, wrapped = fabric.setup(space, optimiser)
    losses: list[float] = []
    if before is not None:
        space.load_state_dict(before["space"])
        optimiser.load_state_dict(before["optimiser"])
        fabric.strategy.precision.load_state_dict(before["precision"])
        losses = list(before["losses"])
    space.train()
    with generators_kept():
        for number in range(len(losses), training.epochs):
            found: Iterable[Batch] = usable(epochs.epoch(number, fabric.global_rank), fabric.world_size)
            if fabric.is_global_zero:
                found = track(found, f"Epoch {number + 1} of {training.epochs}", training.steps)
            sums = []
            for step, batch in enumerate(found):
                for group in optimiser.param_groups:
                    group["lr"] = training.rate(number * training.steps + step)
                loss = _loss(fabric, module, batch, inputs)
                wrapped.zero_grad()
                fabric.backward(loss + space.diversity_penalty())
                wrapped.step()
                sums.append(loss.detach())
            if not sums:
                raise DataError(f"The training data gave no batch in epoch {number + 1} that the processes can share; give more examples.")
            mean = float(fabric.all_reduce(torch.stack(sums).float().mean(), reduce_op="mean"))
            if not math.isfinite(mean):
                raise SubspaceError(f"The loss is not finite in epoch {number + 1}; lower the learning rate, or lengthen the warm-up.")
            losses.append(mean)
            if fabric.is_global_zero:
                state = {"space": space.state_dict(), "optimiser": optimiser.state_dict(), "precision": fabric.strategy.precision.state_dict()}
                keep({**state, "losses": list(losses)})
            fabric.barrier()


def usable(found: Iterable[Batch], processes: int) -> Iterable[Batch]:
    """The batches that can be shared: those with two examples for every process, which batch norm needs; if the first has fewer, with one."""
    least = 0
    for batch in found:
        least = least or (2 if batch.size >= 2 * processes else 1) * processes
        if batch.size >= least:
            yield batch


def _loss(fabric: Any, module: nn.Module, batch: Batch, dtype: torch.dtype) -> torch.Tensor:
    """The mean loss of a process's share; weighted so that the mean over all processes is that of the whole batch."""
    own = share(batch, fabric.global_rank, fabric.world_size)
    args, kwargs, labels = fabric.to_device((own.args, own.kwargs, own.labels))
    logits = logits_of(forward(module, Batch(args, kwargs, labels, own.index), dtype))
    loss = functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))
    return loss if fabric.world_size == 1 else loss * (own.size * fabric.world_size / batch.size)
