"""The files that are written: which tensor lies where, and the headers, before any is computed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onefold.checkpoints.engine.jobs import Job
from onefold.checkpoints.layouts import item_size
from onefold.checkpoints.layouts.dtypes import CODES
from onefold.weights.files import SHARD


@dataclass(frozen=True)
class Shard:
    """One safetensors file.

    Attributes:
        file: its name.
        header: the bytes before the tensors.
        places: for each tensor the number of its job, and its first byte in the file.
        size: the bytes of the file.
    """

    file: str
    header: bytes
    places: tuple[tuple[int, int], ...]
    size: int


def stem_of(file: str) -> str:
    """The name of a file of weights without its ending, and without the number of a shard."""
    match = SHARD.fullmatch(file)
    return match["stem"] if match else file.removesuffix(".safetensors")


def shards_of(
    jobs: Sequence[Job], limit: int, stem: str, metadata: Mapping[str, str]
) -> tuple[Shard, ...]:
    """The files for all tensors, in their order.

    Args:
        jobs: the tensors.
        limit: the bytes of a file at most; a larger tensor gets a file of its own.
        stem: the beginning of the files' names.
        metadata: texts that every file holds.
    """
    groups: list[list[int]] = [[]]
    filled = 0
    for number, job in enumerate(jobs):
        if groups[-1] and filled + job.nbytes > limit:
            groups.append([])
            filled = 0
        groups[-1].append(number)
        filled += job.nbytes
    count = len(groups)
    names = [
        f"{stem}.safetensors" if count == 1 else f"{stem}-{i + 1:05d}-of-{count:05d}.safetensors"
        for i in range(count)
    ]
    return tuple(_shard(jobs, n, name, metadata) for n, name in zip(groups, names, strict=True))


def index_of(shards: Sequence[Shard], jobs: Sequence[Job], stem: str) -> tuple[str, str] | None:
    """The name and the text of the index; None: there is one file."""
    if len(shards) == 1:
        return None
    weight_map = {jobs[n].name: shard.file for shard in shards for n, _ in shard.places}
    total = sum(job.nbytes for job in jobs)
    content = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    return index_name(stem), json.dumps(content, indent=2) + "\n"


def index_name(stem: str) -> str:
    """The name of the index of files whose names begin with `stem`."""
    return f"{stem}.safetensors.index.json"


def _shard(
    jobs: Sequence[Job], numbers: Sequence[int], name: str, metadata: Mapping[str, str]
) -> Shard:
    """One file. Wide dtypes come first, so that every tensor begins at a multiple of its items."""
    ordered = sorted(numbers, key=lambda number: -item_size(jobs[number].dtype))
    entries: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    begins, position = [], 0
    for number in ordered:
        job = jobs[number]
        end = position + job.nbytes
        entries[job.name] = {
            "dtype": CODES[job.dtype],
            "shape": list(job.shape),
            "data_offsets": [position, end],
        }
        begins.append((number, position))
        position = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 16 + 8)  # tensors begin at multiples of 16
    header = len(text).to_bytes(8, "little") + text
    start = len(header)
    places = tuple((number, start + begin) for number, begin in begins)
    return Shard(name, header, places, start + position)
