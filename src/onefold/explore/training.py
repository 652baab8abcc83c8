"""The parts that all training runs share: learning rate, batches for several processes, an epoch.

The loss is that of the task (`onefold.tasks`), the mean over all rows of a batch that have labels.

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

from onefold.batches import Batch, Data, batches, device_of, labels_of
from onefold.errors import DataError
from onefold.explore.epochs import Epochs, share
from onefold.forward import forward
from onefold.inference import ANY, floating_outputs, run
from onefold.inference.running import check_runs, eval_mode
from onefold.progress import LOG, Work, bar
from onefold.tasks import Rows, Scoring
from onefold.tasks.reading import Reading, row_losses

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


def training_reading(scoring: Scoring | None = None) -> Reading:
    """How a training reads outputs: by the task that is named, or that the first batch tells."""
    return Reading(scoring or Scoring(), ANY, "training")


@dataclass(frozen=True)
class EpochLoss:
    """What an epoch came to.

    Attributes:
        mean: of the losses, without the penalty, over all processes.
        broken: where the loss was not finite first in this process, in words behind "finite", if a
            single example made it so; else "".
    """

    mean: float
    broken: str = ""


def train_epoch(
    fabric: Any,
    module: nn.Module,
    optimizer: Any,
    epochs: Epochs,
    number: int,
    training: Training,
    dtype: torch.dtype,
    title: str,
    reading: Reading,
    *,
    penalty: Callable[[], Tensor] | None = None,
    stepped: Callable[[], None] = lambda: None,
) -> EpochLoss:
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
        reading: of outputs and labels, the same in all epochs.
        penalty: is added to every step's loss; None for nothing.
        stepped: is called after every step.

    Raises:
        DataError: there is no batch that the processes can share, or the network cannot run on one.
    """
    found: Iterable[Batch] = usable(epochs.epoch(number, fabric.global_rank), fabric.world_size)
    sums: list[Tensor] = []
    firsts: list[Tensor] = []
    for step, batch in enumerate(
        _shown(found, title, training.steps, sums) if fabric.is_global_zero else found
    ):
        for group in optimizer.param_groups:
            group["lr"] = training.rate(number * training.steps + step)
        loss, first = batch_loss(fabric, module, batch, dtype, reading)
        optimizer.zero_grad()
        fabric.backward(loss if penalty is None else loss + penalty())
        optimizer.step()
        stepped()
        sums.append(loss.detach())
        firsts.append(first)
    if not sums:
        raise DataError(
            f"The training data gave no batch in epoch {number + 1} that the processes can share;"
            " give more examples."
        )
    mean = float(fabric.all_reduce(torch.stack(sums).float().mean(), reduce_op="mean"))
    LOG.info("%s: loss %.4f", title, mean)
    return EpochLoss(mean, "" if math.isfinite(mean) else _broken(sums, firsts))


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


def batch_loss(
    fabric: Any, module: nn.Module, batch: Batch, dtype: torch.dtype, reading: Reading
) -> tuple[Tensor, Tensor]:
    """The mean loss of a process's share of a batch, and which example made it not finite.

    The loss is weighted so that its mean over all processes is the mean loss of the whole batch.

    Returns:
        The loss (scalar), and the first example of the batch whose loss is not finite while those
        of others are, else -1; both on the device of the network.
    """
    labels_of(batch, "training needs them", "training data")
    own = share(batch, fabric.global_rank, fabric.world_size)
    args, kwargs, labels = fabric.to_device((own.args, own.kwargs, own.labels))
    moved = Batch(args, kwargs, labels, own.index)
    rows = reading.rows(run(module, moved, ANY, dtype), moved)
    losses = row_losses(reading.told, rows)
    loss = losses.mean() if len(losses) else rows.values.sum() * 0.0
    place = _first_broken(losses.detach(), rows)
    first = torch.where(place < 0, place, place * fabric.world_size + fabric.global_rank)
    if fabric.world_size > 1:
        loss = loss * (own.size * fabric.world_size / batch.size)
    return loss, first


def _first_broken(losses: Tensor, rows: Rows) -> Tensor:
    """The first example with a loss that is not finite, where others are; -1 for none.

    Nothing waits for the device.
    """
    fine = losses.isfinite()
    place = (~fine).int().cumsum(0).eq(0).sum()  # losses before the first that is not finite
    if rows.owners is not None and len(fine):
        place = rows.owners.to(losses.device)[place.clamp(max=len(fine) - 1)]
    return torch.where(fine.any() & ~fine.all(), place, torch.full_like(place, -1))


def _broken(losses: Sequence[Tensor], firsts: Sequence[Tensor]) -> str:
    """Where the first loss that is not finite comes from, if one example alone made it so."""
    for step, (loss, first) in enumerate(zip(losses, firsts, strict=True)):
        if not bool(loss.isfinite()):
            place = int(first)
            return f", first at example {place} of batch {step}" if place >= 0 else ""
    return ""


def check_fit(network: nn.Module, data: Data, what: str, reading: Reading | None = None) -> Reading:
    """Read all of the data, and run the network on the first batch, before a training begins.

    Args:
        network: its outputs are of the task.
        data: labelled batches.
        what: the name of the data in messages.
        reading: of the same task, if other data have told it; None: the data tell it.

    Returns:
        The reading, which knows the task.

    Raises:
        DataError: the network cannot run on the data, its outputs do not fit the labels, or an
            output is not finite because an input is not.
    """
    reading = reading or training_reading()
    check_runs(network, data)
    for batch in batches(data, device_of(network), what):
        labels_of(batch, "training needs them", what)
        if batch.index == 0:
            with torch.no_grad():
                returned = forward(network, batch)
            if (count := len(floating_outputs(returned))) > 1:
                raise DataError(
                    f"The network returns {count} outputs, and training needs one; let it return"
                    " its logits alone or as `logits`."
                )
            reading.rows(ANY.of(returned), batch)
        checked = reading.check(batch)
        if not checked or not _all_finite(batch):
            _check_outputs(network, batch, what, reading)
    return reading


def _all_finite(batch: Batch) -> bool:
    """Whether all inputs are finite."""
    return all(bool(x.isfinite().all()) for x in batch.tensors if x.is_floating_point())


def _check_outputs(network: nn.Module, batch: Batch, what: str, reading: Reading) -> None:
    """Run the network on a batch; name the example where an output is not finite.

    Raises:
        DataError: there is one, or the labels do not fit the outputs.
    """
    with eval_mode([network]):
        outputs = run(network, batch, ANY)
    reading.rows(outputs, batch)
    fine = outputs.flatten(1).isfinite().all(1) if outputs.dim() > 1 else outputs.isfinite()
    if not bool(fine.all()) and not _all_finite(batch):
        example = int((~fine).nonzero()[0])
        raise DataError(
            f"The output for example {example} of batch {batch.index} of the {what} is not finite,"
            " as an input of that batch is NaN or infinite; drop or fill it."
        )
