"""The files that are written: which tensor lies where, and the headers, before any is computed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onefold.checkpoints.layouts import item_size
from onefold.checkpoints.layouts.dtypes import CODES
from onefold.checkpoints.plan.jobs import Job
from onefold.weights.files import SHARD

NAMED = ("model", "diffusion_pytorch_model")  # stems behind which libraries put a variant


@dataclass(frozen=True)
class Shard:
    """One safetensors file.

    Attributes:
        file: its name.
        header: the bytes before the tensors.
        places: for each tensor the number of its job, and its first byte in the file.
        size: the bytes of the file.
        component: the folder that it is in, whose name its tensors do not have there; "": none.
    """

    file: str
    header: bytes
    places: tuple[tuple[int, int], ...]
    size: int
    component: str = ""

    def inner(self, name: str) -> str:
        """The name of a tensor in the file."""
        return name.removeprefix(f"{self.component}/") if self.component else name


def stem_of(file: str) -> str:
    """The name of a file of weights without its ending, and without the number of a shard."""
    match = SHARD.fullmatch(file)
    return match["stem"] if match else file.removesuffix(".safetensors")


def shards_of(
    jobs: Sequence[Job],
    limit: int,
    stem: str,
    metadata: Mapping[str, str],
    stems: Mapping[str, str] | None = None,
) -> tuple[Shard, ...]:
    """The files for all tensors, in their order.

    Args:
        jobs: the tensors.
        limit: the bytes of a file at most; a larger tensor gets a file of its own.
        stem: the beginning of the files' names.
        metadata: texts that every file holds.
        stems: the folder of a component -> the beginning of its files' names with that folder.
    """
    found: list[Shard] = []
    parts: dict[str, list[int]] = {}
    for number, job in enumerate(jobs):
        head = job.name.partition("/")[0]
        parts.setdefault(head if head in (stems or {}) else "", []).append(number)
    for component, numbers in parts.items():
        beginning = (stems or {}).get(component, stem)
        found += _files(jobs, numbers, limit, beginning, metadata, component)
    return tuple(found)


def _files(
    jobs: Sequence[Job],
    numbers: Sequence[int],
    limit: int,
    stem: str,
    metadata: Mapping[str, str],
    component: str,
) -> list[Shard]:
    """The files of one component, or of a checkpoint that has none."""
    groups: list[list[int]] = [[]]
    filled = 0
    for number in numbers:
        if groups[-1] and filled + jobs[number].nbytes > limit:
            groups.append([])
            filled = 0
        groups[-1].append(number)
        filled += jobs[number].nbytes
    count = len(groups)
    names = [
        f"{stem}.safetensors" if count == 1 else f"{stem}-{i + 1:05d}-of-{count:05d}.safetensors"
        for i in range(count)
    ]
    return [
        _shard(jobs, group, name, metadata, component)
        for group, name in zip(groups, names, strict=True)
    ]


def indices_of(shards: Sequence[Shard], jobs: Sequence[Job]) -> dict[str, str]:
    """The indices of files that belong together: name -> text."""
    found = {}
    for component in dict.fromkeys(shard.component for shard in shards):
        own = [shard for shard in shards if shard.component == component]
        if len(own) > 1:
            places = [(shard, jobs[n]) for shard in own for n, _ in shard.places]
            files = {shard.inner(job.name): Path(shard.file).name for shard, job in places}
            total = sum(job.nbytes for _, job in places)
            content = {"metadata": {"total_size": total}, "weight_map": dict(sorted(files.items()))}
            found[index_name(stem_of(own[0].file))] = json.dumps(content, indent=2) + "\n"
    return found


def index_name(stem: str) -> str:
    """The name of the index of files whose names begin with `stem`.

    A stem may hold a variant, as "diffusion_pytorch_model.fp16".
    """
    folder, slash, file = stem.rpartition("/")
    name, dot, variant = file.partition(".")
    if dot and name in NAMED:
        return f"{folder}{slash}{name}.safetensors.index.{variant}.json"
    return f"{stem}.safetensors.index.json"


def _shard(
    jobs: Sequence[Job],
    numbers: Sequence[int],
    name: str,
    metadata: Mapping[str, str],
    component: str,
) -> Shard:
    """One file. Wide dtypes come first, so that every tensor begins at a multiple of its items."""
    ordered = sorted(numbers, key=lambda number: -item_size(jobs[number].dtype))
    entries: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    begins, position = [], 0
    for number in ordered:
        job = jobs[number]
        end = position + job.nbytes
        inner = job.name.removeprefix(f"{component}/") if component else job.name
        entries[inner] = {
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
    return Shard(name, header, places, start + position, component)
