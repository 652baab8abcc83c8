"""Train a subspace by stochastic gradient descent.

    loss = the task's loss at the drawn point + beta cos^2(v_i, v_j)

Training runs on any device, in any precision, in one process or several. The learning rate is a
function of the step alone (training.py), and the order of the batches one of the epoch. A run that
was broken off therefore continues from the last epoch to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from onefold.batches import dtype_of
from onefold.errors import SubspaceError
from onefold.explore.epochs import Epochs
from onefold.explore.subspace import Subspace
from onefold.explore.training import Training, all_epochs, train_epoch, training_reading
from onefold.generators import generators_kept
from onefold.tasks import Scoring

State = dict[str, Any]


def train(
    fabric: Any,
    space: Subspace,
    epochs: Epochs,
    training: Training,
    before: Mapping[str, Any] | None,
    keep: Callable[[State], None],
    scoring: Scoring | None = None,
) -> None:
    """Train `space` in place.

    Args:
        fabric: a launched lightning_fabric.Fabric, which knows device, precision and the other
            processes.
        space: is trained.
        epochs: the batches; each process takes its share of every one.
        training: steps and learning rate.
        before: the last state that `keep` was given by a run that was broken off; None begins.
        keep: is given, in the first process and after every epoch, the state on which all further
            epochs depend: plain containers, numbers, tensors.
        scoring: names the task whose loss is minimised; None: the first batch tells it.

    Raises:
        SubspaceError: the loss is not finite.
        DataError: the network cannot run on a batch, or its outputs do not fit the labels.
    """
    inputs = dtype_of(space)  # of the batches, whatever precision the network is given
    optimiser = training.optimizer(space.parameters())
    module, wrapped = fabric.setup(space, optimiser)
    losses: list[float] = []
    reading = training_reading(scoring)
    if before is not None:
        space.load_state_dict(before["space"])
        optimiser.load_state_dict(before["optimiser"])
        fabric.strategy.precision.load_state_dict(before["precision"])
        losses = list(before["losses"])
    space.train()
    with generators_kept(), all_epochs(fabric, training.epochs - len(losses)) as shown:
        for number in range(len(losses), training.epochs):
            title = f"Epoch {number + 1} of {training.epochs}"
            found = train_epoch(
                fabric,
                module,
                wrapped,
                epochs,
                number,
                training,
                inputs,
                title,
                reading,
                penalty=space.diversity_penalty,
            )
            if not math.isfinite(found.mean):
                raise SubspaceError(
                    f"The loss is not finite in epoch {number + 1}{found.broken}; lower the"
                    " learning rate, or lengthen the warm-up."
                )
            losses.append(found.mean)
            shown.step(f"loss {found.mean:.3f}")
            if fabric.is_global_zero:
                state = {
                    "space": space.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "precision": fabric.strategy.precision.state_dict(),
                }
                keep({**state, "losses": list(losses)})
            fabric.barrier()
