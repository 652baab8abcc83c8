"""The parts that all training runs share: learning rate, batches for several processes, an epoch.

The learning rate rises for the warm-up and falls as half a cosine (Loshchilov & Hutter 2017, arXiv
1608.03983).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.nn import functional

from onefold.batches import Batch, Data, batches, device_of, labels_of
from onefold.errors import DataError
from onefold.explore.epochs import Epochs, share
from onefold.forward import forward
from onefold.inference import ANY, ClassAxis, floating_outputs, run
from onefold.inference.running import check_runs
from onefold.measure.scores import check_labels, flatten
from onefold.progress import LOG, Work, bar

LOSS_EVERY = 10  # steps between losses that are shown: to read one waits for the device


@dataclass(frozen=True)
class Training:
    """How to train.

    Attributes:
        epochs: passes over the data.
        steps: of one epoch.
        lr: the highest learning rate.
        momentum: of SGD.
        weight_decay: of SGD.
        warm_up: epochs in which the rate rises; None for a tenth, at most 5.
    """

    epochs: int
    steps: int
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warm_up: float | None = None

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> optim.SGD:
        """SGD with these settings; `rate` gives the learning rate of each step."""
        return optim.SGD(
            parameters, self.lr, momentum=self.momentum, weight_decay=self.weight_decay
        )

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0 over all epochs."""
        warm = warm_up_of(self.epochs, self.warm_up) * self.steps
        if step + 1 < warm:
            return self.lr * (step + 1) / warm
        done = min((step - warm) / max(self.epochs * self.steps - warm, 1.0), 1.0)
        return self.lr * 0.5 * (1 + math.cos(math.pi * max(done, 0.0)))


def warm_up_of(epochs: int, asked: float | None) -> float:
    """The epochs in which the rate rises: as asked, or a tenth of all, at most 5."""
    return min(5.0, epochs / 10) if asked is None else asked


def steps_of(data: Data, devices: int, name: str) -> int:
    """The number of steps in an epoch.

    Args:
        data: the batches.
        devices: processes that share each batch.
        name: of the data, for the message.

    Raises:
        DataError: there is no step.
    """
    steps = sum(1 for _ in usable(batches(data), devices))
    if steps == 0:
        raise DataError(
            f"The data '{name}' has no batch that {devices} processes can share; give larger"
            " batches."
        )
    return steps


def usable(found: Iterable[Batch], processes: int) -> Iterable[Batch]:
    """The batches that can be shared by the processes.

    These have two examples for every process, which batch norm needs. If the first batch has fewer,
    they have one.
    """
    least = 0
    for batch in found:
        least = least or (2 if batch.size >= 2 * processes else 1) * processes
        if batch.size >= least:
            yield batch


def train_epoch(
    fabric: Any,
    module: nn.Module,
    optimizer: Any,
    epochs: Epochs,
    number: int,
    training: Training,
    dtype: torch.dtype,
    title: str,
    *,
    penalty: Callable[[], Tensor] | None = None,
    stepped: Callable[[], None] = lambda: None,
) -> float:
    """Train for one epoch.

    Args:
        fabric: a launched lightning_fabric.Fabric.
        module: as `fabric` has set it up.
        optimizer: as `fabric` has set it up.
        epochs: the batches.
        number: of the epoch, from 0: it decides order and learning rate.
        training: steps and learning rate.
        dtype: of the batches, whatever precision the network is given.
        title: of the progress bar.
        penalty: is added to every step's loss; None for nothing.
        stepped: is called after every step.

    Returns:
        The mean of the losses, without the penalty, over all processes.

    Raises:
        DataError: there is no batch that the processes can share, or the network cannot run on one.
    """
    found: Iterable[Batch] = usable(epochs.epoch(number, fabric.global_rank), fabric.world_size)
    sums: list[Tensor] = []
    for step, batch in enumerate(
        _shown(found, title, training.steps, sums) if fabric.is_global_zero else found
    ):
        for group in optimizer.param_groups:
            group["lr"] = training.rate(number * training.steps + step)
        loss = batch_loss(fabric, module, batch, dtype)
        optimizer.zero_grad()
        fabric.backward(loss if penalty is None else loss + penalty())
        optimizer.step()
        stepped()
        sums.append(loss.detach())
    if not sums:
        raise DataError(
            f"The training data gave no batch in epoch {number + 1} that the processes can share;"
            " give more examples."
        )
    mean = float(fabric.all_reduce(torch.stack(sums).float().mean(), reduce_op="mean"))
    LOG.info("%s: loss %.4f", title, mean)
    return mean


def all_epochs(fabric: Any, count: int) -> AbstractContextManager[Work]:
    """A bar over all epochs of a training, in the first process; it tells the remaining time.

    Args:
        fabric: a launched lightning_fabric.Fabric.
        count: the epochs to come.
    """
    return bar("Training", count) if fabric.is_global_zero else nullcontext(Work())


def _shown(
    found: Iterable[Batch], title: str, steps: int, losses: Sequence[Tensor]
) -> Iterator[Batch]:
    """The batches, while a bar shows how many there are, and the last of the losses."""
    with bar(title, steps) as work:
        for number, batch in enumerate(found):
            yield batch
            told = number % LOSS_EVERY == 0 and work.is_shown
            work.step(f"loss {float(losses[-1]):.3f}" if told else "")


def batch_loss(fabric: Any, module: nn.Module, batch: Batch, dtype: torch.dtype) -> torch.Tensor:
    """The mean loss of a process's share of a batch.

    It is weighted so that its mean over all processes is the mean loss of the whole batch.
    """
    labels_of(batch, "training needs them", "training data")
    own = share(batch, fabric.global_rank, fabric.world_size)
    args, kwargs, labels = fabric.to_device((own.args, own.kwargs, own.labels))
    found = run(module, Batch(args, kwargs, labels, own.index), ANY, dtype)
    logits = ClassAxis(ANY, "training").last(
        found, labels, scored=True, where=f" of batch {own.index}"
    )
    loss = functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))
    return loss if fabric.world_size == 1 else loss * (own.size * fabric.world_size / batch.size)


def check_fit(network: nn.Module, data: Data, what: str) -> None:
    """Run the network on all of the data, before a training begins.

    Args:
        network: returns logits (n, classes, ...) or (n, ..., classes).
        data: labelled batches.
        what: the name of the data in messages.

    Raises:
        DataError: the network cannot run on the data, or its outputs do not fit the labels.
    """
    check_runs(network, data)
    classes = 0
    for batch in batches(data, device_of(network), what):
        labels = labels_of(batch, "training needs them", what)
        if batch.index == 0:
            with torch.no_grad():
                returned = forward(network, batch)
            if (count := len(floating_outputs(returned))) > 1:
                raise DataError(
                    f"The network returns {count} outputs, and training needs one; let it return"
                    " its logits alone or as `logits`."
                )
            logits = ClassAxis(ANY, "training").last(
                ANY.of(returned), labels, scored=True, where=f" of batch {batch.index}"
            )
            flatten(logits, labels)
            classes = logits.shape[-1]
        check_labels(labels, classes)
