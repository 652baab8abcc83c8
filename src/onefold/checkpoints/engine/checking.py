"""The written files are read back before the folder gets its name, as other people will read them.

The reader is that of safetensors, through the index where there is one. Names, shapes and dtypes
must be those of the plan. A sample of places is computed again from the inputs and must have the
same bits: in each file its first and its last tensor, and others in an order that their names
decide. The sample holds at most 1/`SHARE` of all elements, so that the check takes less than 1 % of
a merge. A method that needs the whole tensor for a single place is checked on tensors that are
small enough.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onefold.checkpoints.engine.inputs import Inputs
from onefold.checkpoints.engine.running import Work, computed
from onefold.checkpoints.engine.schedule import Gate
from onefold.checkpoints.layouts.dtypes import CODES
from onefold.checkpoints.methods.base import Method
from onefold.checkpoints.plan.jobs import Job
from onefold.checkpoints.plan.planning import Plan
from onefold.checkpoints.plan.shards import Shard, index_name, stem_of
from onefold.errors import OutputError

SHARE = 1000  # one element in as many is read back
LEAST = 1 << 18  # elements of a small merge that are read back all the same
PLACES = 3  # ranges of a large tensor
PIECE = 1 << 13  # elements of one range where a tensor may be cut anywhere


class DamagedFileError(OutputError):
    """A written file does not hold what was merged.

    Attributes:
        file: its name.
    """

    def __init__(self, message: str, file: str) -> None:
        super().__init__(message)
        self.file = file


def check_written(plan: Plan, folder: Path, inputs: Inputs, memory: int) -> tuple[int, int]:
    """Read the written files back.

    Args:
        plan: what was carried out.
        folder: where the files are; the index is among them.
        inputs: the files of the models.
        memory: bytes that tensors in work take at most.

    Returns:
        The number of tensors of which places were compared, and the number of elements.

    Raises:
        DamagedFileError: a file cannot be read, or holds something else than the plan says.
    """
    gate, elements = Gate(memory), 0
    sample = _sample(plan, inputs, gate)
    for shard in plan.shards:
        with _Reading(folder, shard, plan) as file:
            file.check_names()
            for work in (sample[one] for one, _ in shard.places if one in sample):
                for start, stop in _places(work):
                    file.compare(work.job, start, computed(work, start, stop))
                    elements += stop - start
                work.forget()
    return len(sample), elements


class _Reading:
    """One written file, as the reader of safetensors shows it."""

    def __init__(self, folder: Path, shard: Shard, plan: Plan) -> None:
        from safetensors import safe_open

        self.folder, self.shard, self.plan = folder, shard, plan
        self._open: Any = safe_open
        self._file: Any = None

    def __enter__(self) -> _Reading:
        try:
            self._file = self._open(self.folder / self.shard.file, framework="pt").__enter__()
        except Exception as error:  # the reader has errors of its own
            raise self._damaged(f"cannot be read ({str(error)[:100]})") from error
        return self

    def __exit__(self, *error: object) -> None:
        self._file.__exit__(*error)

    def check_names(self) -> None:
        """Compare names, shapes and dtypes with the plan, and the index with the file."""
        jobs = [self.plan.jobs[number] for number, _ in self.shard.places]
        stored = {self.shard.inner(job.name): job for job in jobs}
        if set(self._file.keys()) != set(stored):
            raise self._damaged("holds other tensors than were merged")
        index = self.folder / index_name(stem_of(self.shard.file))
        if index.is_file():
            listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            named = {name for name, file in listed.items() if file == Path(self.shard.file).name}
            if named != set(stored):
                raise self._damaged(f"holds other tensors than {index.name} says")
        for name, job in stored.items():
            part = self._file.get_slice(name)
            if tuple(part.get_shape()) != job.shape or part.get_dtype() != CODES[job.dtype]:
                raise self._damaged(f"holds '{name}' in another shape or dtype than was merged")

    def compare(self, job: Job, start: int, expected: Tensor) -> None:
        """Compare the elements from `start` on with those that the plan gives, (size,)."""
        name = self.shard.inner(job.name)
        try:
            found = self._elements(name, job, start, start + len(expected))
        except Exception as error:  # the reader has errors of its own
            raise self._damaged(f"cannot be read in '{name}' ({str(error)[:100]})") from error
        if torch.equal(found.view(torch.uint8), expected.view(torch.uint8)):
            return
        other = found.view(torch.uint8) != expected.view(torch.uint8)
        at = int(other.nonzero()[0]) // expected.element_size()
        raise self._damaged(
            f"holds other values in '{name}' than were merged (element {start + at} is"
            f" {found[at].item()!r} and not {expected[at].item()!r})"
        )

    def _elements(self, name: str, job: Job, start: int, stop: int) -> Tensor:
        """Elements of a stored tensor, (stop - start,); only the rows around them are read."""
        if not job.shape:
            found: Tensor = self._file.get_tensor(name)
            return found.reshape(1)[start:stop]
        row = max(1, job.numel // job.shape[0])
        first, last = start // row, -(-stop // row)
        rows: Tensor = self._file.get_slice(name)[first:last]
        return rows.reshape(-1)[start - first * row : stop - first * row]

    def _damaged(self, what: str) -> DamagedFileError:
        path = self.folder / self.shard.file
        return DamagedFileError(
            f"{path} {what}; was the disk or the file disturbed? Merge again, which writes this"
            " file anew.",
            self.shard.file,
        )


def _sample(plan: Plan, inputs: Inputs, gate: Gate) -> dict[int, Work]:
    """The tensors of which places are compared, by their numbers."""
    jobs = plan.jobs
    left = max(LEAST, sum(job.numel for job in jobs) // SHARE)
    ends = {shard.places[at][0] for shard in plan.shards if shard.places for at in (0, -1)}
    others = sorted(
        set(range(len(jobs))) - ends,
        key=lambda number: hashlib.sha256(jobs[number].name.encode()).digest(),
    )
    found: dict[int, Work] = {}
    for number in (*sorted(ends), *others):
        work = Work(jobs[number], 0, inputs, gate, known=True)
        cost = jobs[number].numel
        if not _is_whole(jobs[number]):
            cost = min(cost, PLACES * _piece(work))
        if 0 < cost <= left:
            left -= cost
            found[number] = work
    return found


def _is_whole(job: Job) -> bool:
    """Whether one place of a tensor takes all of its elements."""
    gathered = job.rows is not None and not job.by_rows
    if job.method is None or gathered:
        return job.whole or gathered
    facts = type(job.method).facts is not Method.facts
    scaled = any(held.scaled is not None for held in job.inputs)
    cast = any(job.rounds(held) for held in job.inputs)
    return job.whole or facts or scaled or (cast and not job.by_rows)


def _piece(work: Work) -> int:
    """The elements of one range: few where a tensor may be cut anywhere, else its step."""
    job = work.job
    anywhere = job.method is None or job.method.cut == "elementwise"
    return min(PIECE, work.step) if anywhere and not job.by_rows else work.step


def _places(work: Work) -> Iterator[tuple[int, int]]:
    """The ranges of a tensor that are compared: all of it, or its first, last and one between."""
    job = work.job
    step = work.step if _is_whole(job) else _piece(work)
    count = -(-job.numel // step)
    numbers: Sequence[int] = range(count)
    if count > PLACES and not _is_whole(job):
        seed = int.from_bytes(hashlib.sha256(job.name.encode()).digest()[:8], "little")
        numbers = sorted({0, 1 + seed % (count - 2), count - 1})
    for number in numbers:
        yield number * step, min((number + 1) * step, job.numel)
