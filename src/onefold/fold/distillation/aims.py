"""What the student is taught: the ensemble's answer on a batch, in the form that its task says.

g = an ensemble of the members' values:  a mean of the task, or a pool of classes
classes    q(x) = softmax(g(x) / T),   loss = T^2 mean_x KL(q(x) || softmax(f_theta(x) / T))
yes or no  the same with sigmoid
numbers    loss = mean_x (f_theta(x) - g(x))^2
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from onefold.batch_parts import in_memory
from onefold.batches import Batch, Data, batches, device_of
from onefold.ensemble.mean import mean_output
from onefold.ensemble.names import EnsembleMean
from onefold.ensemble.pool import ClassPool
from onefold.fold.distillation.views import Viewer
from onefold.inference import Output, run
from onefold.inference.running import eval_mode
from onefold.sources import on_disk
from onefold.tasks import Task

T = TypeVar("T")
WHAT = "data to distil on"
POLISHING = "distilling (polish)"


class Outputs:
    """The values (n, ..., D) of a network on one batch after the other, as the task reads them.

    Args:
        output: which output is meant.
        task: of the networks.
        todo: what the values are needed for, for the message.
    """

    def __init__(self, output: Output, task: Task, todo: str = POLISHING) -> None:
        self._output, self.task = output, task
        self._reader = task.reader(output, todo)

    def __call__(self, network: nn.Module, batch: Batch) -> Tensor:
        """The values of the network on a batch."""
        return self._reader.values(run(network, batch, self._output), batch)


class Lessons:
    """The batches of one pass after the other, each with the ensemble's answer.

    Batches of a list come in an order that is drawn anew for every pass. Where they stay the same
    from pass to pass, the ensemble is asked once.

    Members on disk are read one after the other: once if the batches stay the same, once for every
    pass if views change the batches of a list, and for every batch of a loader.

    Args:
        teachers: the members of the ensemble.
        data: batches that can be read more than once.
        ensemble: the mean or the pool.
        outputs: of a network on a batch.
        viewer: changes the batches.
        temperature: of the divergence.
        device: of the student.
        seed: of the order.
    """

    def __init__(
        self,
        teachers: Sequence[nn.Module],
        data: Data,
        ensemble: EnsembleMean | ClassPool,
        outputs: Outputs,
        viewer: Viewer,
        *,
        temperature: float,
        device: torch.device,
        seed: int,
    ) -> None:
        self.data, self.outputs, self.temperature = data, outputs, temperature
        self._teachers, self._ensemble, self._device = teachers, ensemble, device
        self._viewer = viewer
        self._order = torch.Generator().manual_seed(seed)
        self._known: dict[int, Tensor] = {}

    @property
    def repeated(self) -> bool:
        """Whether the batches are the same in every pass, so that the ensemble is asked once."""
        return in_memory(self.data) and not self._viewer.changes

    def count(self) -> int:
        """How many batches one pass has."""
        if in_memory(self.data):
            return len(self.data)  # type: ignore[arg-type]
        return sum(1 for _ in self._read())

    def first(self) -> Batch:
        """The first batch of the data, without a view."""
        return next(self._read())

    def one_pass(self) -> Iterator[tuple[Batch, Tensor]]:
        """The batches of one pass and the ensemble's answers (n, ..., D) on them, float32."""
        if not in_memory(self.data):
            yield from ((batch, self.aim(batch)) for batch in map(self._viewer, self._read()))
            return
        every = list(self._read())
        places = torch.randperm(len(every), generator=self._order).tolist()
        if not on_disk(self._teachers):
            for k in places:
                batch = self._viewer(every[k])
                yield batch, self._aim_once(batch)
            return
        if not self.repeated:
            viewed = [self._viewer(every[k]) for k in places]
            yield from zip(viewed, self._in_turn(viewed), strict=True)
            return
        if not self._known:
            self._known = dict(enumerate(self._in_turn(every)))
        yield from ((every[k], self._known[k]) for k in places)

    def loss(self, student: nn.Module, batch: Batch, aim: Tensor) -> Tensor:
        """The loss of the student on a batch, a scalar."""
        task = self.outputs.task
        return task.divergence(self.outputs(student, batch), aim, self.temperature)

    def aim(self, batch: Batch) -> Tensor:
        """The answer on a batch, from all teachers."""
        with torch.no_grad(), eval_mode(self._teachers):
            return self._mean([self.outputs(t, batch).float() for t in self._teachers])

    def timed(self, batch: Batch) -> tuple[Tensor, float, float]:
        """The answer on a batch, and the seconds of asking and of reading teachers.

        Returns:
            Seconds of the ensemble on the batch, and of reading all teachers from disk, which is 0
            where it is part of the first.
        """
        if on_disk(self._teachers) and in_memory(self.data):
            start, count = time.perf_counter(), len(self._teachers)
            teacher = self._teachers[0]
            read = time.perf_counter()
            with torch.no_grad():
                aim = finished(self._mean([self.outputs(teacher, batch).float()] * count))
            return aim, count * (time.perf_counter() - read), count * (read - start)
        finished(self.aim(batch))  # the first run is slower
        start = time.perf_counter()
        aim = finished(self.aim(batch))
        return aim, time.perf_counter() - start, 0.0

    def _aim_once(self, batch: Batch) -> Tensor:
        if not self.repeated:
            return self.aim(batch)
        if batch.index not in self._known:
            self._known[batch.index] = self.aim(batch)
        return self._known[batch.index]

    def _read(self) -> Iterator[Batch]:
        return batches(self.data, self._device, WHAT)

    def _mean(self, outputs: Sequence[Tensor]) -> Tensor:
        task = self.outputs.task
        return task.aim(mean_output(outputs, self._ensemble, task), self.temperature)

    def _in_turn(self, every: Sequence[Batch]) -> list[Tensor]:
        """The answers on all batches, with one teacher in memory at a time.

        Teachers on disk are in eval mode.
        """
        outputs: list[list[Tensor]] = [[] for _ in every]
        with torch.no_grad():
            for k in range(len(self._teachers)):
                teacher = self._teachers[k]
                for own, batch in zip(outputs, every, strict=True):
                    own.append(self.outputs(teacher, batch).float())
            return [self._mean(own) for own in outputs]


def finished(value: T) -> T:
    """A value, once its device has computed it."""
    if isinstance(value, Tensor) and value.device.type == "cuda":
        torch.cuda.synchronize(value.device)
    return value


def check_distillable(
    network: nn.Module, data: Data, output: Output, task: Task, todo: str = POLISHING
) -> None:
    """Refuse a network whose outputs on the first batch are none of the task.

    Args:
        network: the network.
        data: batches.
        output: which output is meant.
        task: of the network.
        todo: what the outputs are needed for, for the message.

    Raises:
        DataError: as said.
    """
    with eval_mode([network]):
        Outputs(output, task, todo)(network, next(batches(data, device_of(network), WHAT)))
