"""The plan is carried out: a few threads read, compute and write one tensor or range each.

Each range of each tensor has its place in a file of known size. Neither the order of the ranges
nor the number of threads changes a bit of the result. Memory that does not come from mapped files
is at most

    threads * (range + block buffers) + what tensors in work take beside (see Job.working_bytes)

and tensors wait for one another where the second term would pass the bound.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from onefold.checkpoints.engine.checksums import Checksum
from onefold.checkpoints.engine.finite import (
    SHOWN_IN_RESULT,
    all_finite,
    check_input,
    count_of,
    refuse_result,
)
from onefold.checkpoints.engine.inputs import Inputs
from onefold.checkpoints.engine.mapped_inputs import MappedInputs
from onefold.checkpoints.engine.schedule import Gate, Range, Schedule
from onefold.checkpoints.layouts import Held, is_float, item_size
from onefold.checkpoints.methods.base import BLOCK, Prepared, TensorInputs, name_of
from onefold.checkpoints.plan.jobs import Job
from onefold.checkpoints.plan.shards import Shard

RANGE = BLOCK  # elements that are computed, looked at and written in one step
LARGE = 16 * RANGE  # elements of a buffer that is not kept for the next tensor
SPLIT = 1 << 24  # elements from which on several threads work on one tensor


class Work:
    """One tensor in work, shared by the threads that compute ranges of it.

    Args:
        job: the tensor.
        begin: its first byte in its file.
        inputs: the files of the models.
        gate: bounds the memory.
        known: the inputs are known to be finite.
    """

    def __init__(
        self, job: Job, begin: int, inputs: Inputs, gate: Gate, known: bool = False
    ) -> None:
        self.job, self.begin, self.inputs, self.gate = job, begin, inputs, gate
        self.known = known
        self.mapped = None if job.rows is None else MappedInputs(job.rows, inputs)
        self._lock = threading.Lock()
        self._prepared: Prepared | None = None
        self.ranges: Sequence[Range] = self._ranges()
        self._left = len(self.ranges)

    def _ranges(self) -> list[tuple[int, int]]:
        """The parts that threads take, each a multiple of the method's step."""
        numel = self.job.numel
        if self.job.whole:
            return [(0, numel)]
        part = max(SPLIT // 4, self.step)
        part -= part % self.step
        if numel < SPLIT:
            return [(0, numel)]
        return [(start, min(start + part, numel)) for start in range(0, numel, part)]

    @cached_property
    def step(self) -> int:
        """The elements at whose multiples the tensor may be cut."""
        if self.job.whole:
            return max(1, self.job.numel)
        if self.job.by_rows:
            return self.row * max(1, RANGE // self.row)
        if self.job.method is None:
            return BLOCK
        return self.job.method.step(self._given(lambda _: torch.empty(()).expand(self.job.shape)))

    @property
    def row(self) -> int:
        """The elements of one row over the vocabulary."""
        return max(1, math.prod(self.job.shape[1:]))

    def get_ready(self) -> None:
        """Let the method find out what it needs of the whole tensor."""
        if self.job.method is not None:
            self.prepared()

    def prepared(self) -> Prepared:
        """What the method found out about the whole tensor; found out by the first who asks."""
        with self._lock:
            if self._prepared is None:
                self.gate.enter(self.job.working_bytes)
                self._prepared = self._prepare()
            return self._prepared

    def done(self) -> None:
        """One range is done; after the last one the memory is given back."""
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self.forget()

    def forget(self) -> None:
        """Give the memory back."""
        with self._lock:
            if self._prepared is not None:
                self._prepared = None
                self.gate.leave(self.job.working_bytes)

    def _prepare(self) -> Prepared:
        job = self.job
        assert job.method is not None
        if not self.known and name_of(type(job.method)) not in SHOWN_IN_RESULT:
            for held in job.inputs:
                check_input(held, self.inputs.tensor(held))
        if job.by_rows:  # what is prepared for all rows is nothing; each range has its own
            return Prepared(self._given(lambda held: self.inputs.tensor(held)))
        return job.method.prepare(self._given(self._rounded))

    def rows(self, start: int, stop: int) -> Prepared:
        """What the method needs for some rows of a tensor whose rows are put in order by range.

        Args:
            start: the first element, at the beginning of a row.
            stop: behind the last one.
        """
        assert self.job.method is not None
        self.prepared()
        return self.job.method.prepare(self._given(lambda held: self._rounded(held, start, stop)))

    def _given(self, read: Callable[[Held], Tensor]) -> TensorInputs:
        """The inputs of the method. read: reads one."""
        job = self.job
        return TensorInputs(
            name=job.name,
            tensors=[read(source.held) for source in job.sources],
            models=[source.seed for source in job.sources],
            base=None if job.base is None else read(job.base),
            parameters=[source.parameters for source in job.sources],
            seed=job.seed,
            dtype=getattr(torch, job.dtype),
            compared=None if job.cast is None else getattr(torch, job.cast),
        )

    def source(self) -> Tensor | None:
        """The tensor that is copied as it is, flat; None: it is merged, or read by rows."""
        return self.copied() if self.job.method is None and not self.job.by_rows else None

    def copied(self, start: int = 0, stop: int | None = None) -> Tensor:
        """The tensor that is copied, flat; of one by rows those from `start` to `stop`."""
        held = self.job.copied
        assert held is not None
        tensor = self.inputs.tensor(held) if self.mapped is None else self._part(held, start, stop)
        return tensor.view(-1)

    def _part(self, held: Held, start: int, stop: int | None) -> Tensor:
        """Rows of the result, from one element to another."""
        assert self.mapped is not None
        end = None if stop is None else -(-stop // self.row)
        return self.mapped.tensor(held, start // self.row, end)

    def _rounded(self, held: Held, start: int = 0, stop: int | None = None) -> Tensor:
        """An input; of one by rows those from `start` to `stop`."""
        tensor = self.inputs.tensor(held) if self.mapped is None else self._part(held, start, stop)
        if self.job.cast is not None and self.job.rounds(held):
            return tensor.to(getattr(torch, self.job.cast))
        return tensor


def run_shard(
    shard: Shard,
    jobs: Sequence[Job],
    path: Path,
    inputs: Inputs,
    threads: int,
    gate: Gate,
    told: Callable[[int], None],
) -> str:
    """Write one file.

    Args:
        shard: the file.
        jobs: all tensors of the plan.
        path: where it is written; what is there is overwritten.
        inputs: the files of the models.
        threads: how many work at a time.
        gate: bounds the memory.
        told: is called with the number of bytes that were written, by any thread.

    Returns:
        The checksum of what was written behind the header.

    Raises:
        WeightsError: an input or the result is not finite. OSError: the disk refuses.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        reserve(descriptor, shard.size)
        _write(descriptor, shard.header, 0)
        stop, checksum = threading.Event(), Checksum()
        works = (Work(jobs[number], begin, inputs, gate) for number, begin in shard.places)
        schedule = Schedule(works)

        def work() -> None:
            buffers: dict[torch.dtype, Tensor] = {}
            try:
                while (part := schedule.take()) is not None:
                    _compute(part[0], part[1], descriptor, buffers, told, stop, checksum)
                    part[0].done()
            except BaseException:
                stop.set()
                schedule.stop()
                gate.leave(gate.used)  # nobody may wait for a tensor that never ends
                raise

        with ThreadPoolExecutor(threads) as pool:
            running = [pool.submit(work) for _ in range(threads)]
            try:
                wait(running, return_when=FIRST_EXCEPTION)
            except BaseException:
                stop.set()
                schedule.stop()
                raise
            for one in running:
                one.result()
        return checksum.text
    finally:
        os.close(descriptor)


def computed(work: Work, start: int, stop: int) -> Tensor:
    """The elements of a tensor from a multiple of its step on, as they are written.

    Args:
        work: the tensor.
        start: the first element.
        stop: behind the last element.

    Returns:
        (stop - start,) in the dtype of the result.
    """
    out = torch.empty(stop - start, dtype=getattr(torch, work.job.dtype))
    _fill(work, work.source(), start, stop, out)
    return out


def reserve(descriptor: int, size: int) -> None:
    """Give an empty file its size, and its room on the disk where the system can.

    Writing into reserved room costs about half as much, and a full disk shows before the work.

    Raises:
        OSError: the disk has no room.
    """
    os.truncate(descriptor, size)
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Let torch compute in the calling thread: the threads here share the cores already."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _compute(
    work: Work,
    part: tuple[int, int],
    descriptor: int,
    buffers: dict[torch.dtype, Tensor],
    told: Callable[[int], None],
    stop: threading.Event,
    checksum: Checksum,
) -> None:
    """Compute and write one part of a tensor, range by range."""
    job = work.job
    dtype = getattr(torch, job.dtype)
    source = work.source()
    for start, size in _pieces(work, part):
        if stop.is_set():
            return
        if dtype not in buffers or len(buffers[dtype]) < size:
            buffers[dtype] = torch.empty(max(size, RANGE), dtype=dtype)
        out = buffers[dtype][:size]
        _fill(work, source, start, start + size, out)
        if is_float(job.dtype) and not all_finite(out):
            refuse_result(job, work.inputs, count_of(out))
        place = work.begin + start * item_size(job.dtype)
        if size:
            bytes_ = out.view(torch.uint8).numpy()
            checksum.add(place, bytes_)
            _write(descriptor, bytes_, place)
        told(size * item_size(job.dtype))
    if len(buffers.get(dtype, ())) > LARGE:  # the buffer of a tensor that is not cut
        del buffers[dtype]


def _pieces(work: Work, part: Range) -> Iterator[tuple[int, int]]:
    """The ranges of a part that are computed in one step: the first element, and the number."""
    step = max(RANGE - RANGE % work.step, work.step)
    for start in range(part[0], part[1], step):
        yield start, min(step, part[1] - start)


def ranges_of(shard: Shard, jobs: Sequence[Job]) -> Iterator[Range]:
    """The bytes of a file that are written in one step, whatever the number of threads.

    Args:
        shard: the file.
        jobs: all tensors of the plan.
    """
    inputs, gate = Inputs(), Gate(0)
    for number, begin in shard.places:
        work = Work(jobs[number], begin, inputs, gate)
        size = item_size(jobs[number].dtype)
        for part in work.ranges:
            for start, count in _pieces(work, part):
                yield begin + start * size, begin + (start + count) * size


def _fill(work: Work, source: Tensor | None, start: int, stop: int, out: Tensor) -> None:
    """A range of the result. source: what `work.source` gave."""
    job = work.job
    if source is not None:
        out.copy_(source[start:stop])
    elif job.method is None:
        out.copy_(work.copied(start, stop))
    elif job.by_rows:
        job.method.apply_range(work.rows(start, stop), 0, stop - start, out)
    else:
        _apply(job, work.prepared(), start, stop, out)


def _apply(job: Job, prepared: Prepared, start: int, stop: int, out: Tensor) -> None:
    """A range of the merged tensor; what a filter comes behind is computed as a whole."""
    assert job.method is not None
    if job.finish is None:
        job.method.apply_range(prepared, start, stop, out)
        return
    given = prepared.inputs
    merged = torch.empty(job.shape, dtype=given.work)
    job.method.apply(prepared, merged)
    out.copy_(job.finish.filtered(given, merged).view(-1))


def _write(descriptor: int, data: object, place: int) -> None:
    """Write all bytes at a place of a file."""
    view = memoryview(data).cast("B") if len(data) else memoryview(b"")  # type: ignore[arg-type]
    while len(view):
        written = os.pwrite(descriptor, view, place)
        view, place = view[written:], place + written
