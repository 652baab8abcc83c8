"""Train a subspace by stochastic gradient descent, on any device, in any precision, in one process or several.

    loss = cross-entropy at the drawn point + beta cos^2(v_i, v_j)

The learning rate is a function of the step alone (training.py), as the order of the batches is one of the epoch, so that a run that was broken off
goes on from the last epoch as if it never had been.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import optim

from onefold.batches import Batch, dtype_of
from onefold.errors import DataError, SubspaceError
from onefold.explore.epochs import Epochs, generators_kept
from onefold.explore.subspace import Subspace
from onefold.explore.training import Training, batch_loss, usable
from onefold.progress import track

State = dict[str, Any]


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
                loss = batch_loss(fabric, module, batch, inputs)
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
