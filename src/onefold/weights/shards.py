"""Write a checkpoint as several safetensors files with an index, in one step.

An index NAME.safetensors.index.json is JSON with `weight_map`, name of a tensor -> file, as the
Hugging Face hub stores it. It is written last: without an index there is no checkpoint.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from onefold.errors import OutputError
from onefold.weights.atomic import check_output, fill, publish, staged
from onefold.weights.file_writers import write_safetensors

INDEX = ".index.json"

State = dict[str, Tensor]


def in_shards(tensors: State, limit: int | None) -> list[State]:
    """The tensors in parts, in their order.

    Args:
        tensors: the state dict.
        limit: the bytes of a part at most; None makes one part. A larger tensor is a part of its
            own.
    """
    shards: list[State] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        size = _bytes(tensor)
        if limit is not None and shards[-1] and filled + size > limit:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += size
    return shards


def save_shards(
    shards: Sequence[State], metadata: Mapping[str, str], path: Path, force: bool
) -> Path:
    """Write shards and their index.

    All files are first written under hidden names, then renamed, the index last.

    Args:
        shards: the parts of the state dict.
        metadata: texts to store in every shard.
        path: the file NAME.safetensors that the shards replace.
        force: replace existing files.

    Returns:
        The index file.

    Raises:
        OutputError: a file exists and `force` is not set, or the disk is full or refuses.
    """
    index = index_of(path)
    files = [
        path.with_name(f"{path.stem}-{number:05d}-of-{len(shards):05d}.safetensors")
        for number in range(1, len(shards) + 1)
    ]
    for file in files:
        check_output(file, force)
    with contextlib.ExitStack() as stack:
        ready = []
        for file, shard in zip(files, shards, strict=True):
            temporary = stack.enter_context(staged(file))
            write = functools.partial(_write, shard, metadata)
            fill(temporary, write, file)
            ready.append(temporary)
        listing = stack.enter_context(staged(index))
        fill(listing, _index_text(files, shards), index)
        if force:
            remove(index)  # an old index must never name new shards
        for temporary, file in zip(ready, files, strict=True):
            publish(temporary, file, file)
        publish(listing, index, index)
    if force:
        remove(path, *(old for old in old_shards(path) if old not in files))
    return index


def index_of(path: Path) -> Path:
    """The index file of a sharded checkpoint `path`."""
    return path.with_name(path.name + INDEX)


def old_shards(path: Path) -> list[Path]:
    """The shards of a checkpoint `path` that are on the disk, of any number."""
    pattern = re.compile(re.escape(path.stem) + r"-\d{5}-of-\d{5}\.safetensors")
    return [file for file in path.parent.iterdir() if pattern.fullmatch(file.name)]


def remove(*files: Path) -> None:
    """Remove files that an earlier output left.

    Raises:
        OutputError: one cannot be removed.
    """
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"{file}, left by an earlier output, cannot be removed ({error.strerror}); remove"
                " it by hand."
            ) from error


def _write(shard: State, metadata: Mapping[str, str], path: Path) -> None:
    write_safetensors(shard, path, metadata)


def _index_text(files: Sequence[Path], shards: Sequence[State]) -> str:
    weight_map = {
        name: file.name for file, shard in zip(files, shards, strict=True) for name in shard
    }
    total = sum(_bytes(tensor) for shard in shards for tensor in shard.values())
    content = {"metadata": {"total_size": total}, "weight_map": weight_map}
    return json.dumps(content, indent=2) + "\n"


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
