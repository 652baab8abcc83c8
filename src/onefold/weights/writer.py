"""Write a checkpoint in one step: all of it appears under its name, or nothing does and the old one
stays.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from onefold.errors import OutputError, WeightsError
from onefold.weights.atomic import atomic_write, check_output, fill, publish, staged
from onefold.weights.checks import check_state
from onefold.weights.reader import TIED

TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")
INDEX = ".index.json"
UNWRITABLE = (torch.complex128, torch.complex32)


def save(
    model_or_state: nn.Module | Mapping[str, Tensor],
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, str] | None = None,
    force: bool = False,
    max_shard_bytes: int | None = None,
    check_finite: bool = True,
) -> Path:
    """Write a network's weights, or a state dict, to `path`.

    Names that share one tensor (tied weights) are stored once; the metadata says which, and
    `onefold.load` gives all names back.

    Args:
        model_or_state: the network or its state dict; neither is changed.
        path: a file *.safetensors, or *.pt, *.pth, *.ckpt, *.bin for torch's own format; its folder
            must exist.
        metadata: texts to store with the tensors. In torch's format the state dict then becomes the
            entry "state_dict", beside "metadata".
        force: replace an existing file.
        max_shard_bytes: split into files of at most this many bytes of tensors (one tensor is never
            split), named NAME-00001-of-00003.safetensors and so on, with an index
            NAME.safetensors.index.json, which is written last.
        check_finite: refuse NaN and infinity.

    Returns:
        The file to load again: `path`, or the index file.

    Raises:
        OutputError: the output exists, its folder is missing, its suffix is unknown, or the disk is
            full. Nothing is changed then.
        WeightsError: there are no tensors, or unfit ones (see `check_state`).
    """
    place = _check_path(path, force, max_shard_bytes)
    module = model_or_state if isinstance(model_or_state, nn.Module) else None
    state = module.state_dict() if module is not None else model_or_state
    if not isinstance(state, Mapping):
        raise WeightsError(
            f"{path} cannot be written from a {type(state).__name__}; give a network or a state"
            " dict."
        )
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise WeightsError(
                f"{path} cannot be written: the entry '{name}' is a {type(tensor).__name__}, not a"
                " tensor; leave it out."
            )
    check_state(state, f"The state dict for {path}", module, check_finite=check_finite)
    if place.suffix == ".safetensors" and (
        wide := [name for name, t in state.items() if t.dtype in UNWRITABLE]
    ):
        kind = str(state[wide[0]].dtype).removeprefix("torch.")
        raise WeightsError(
            f"{path} cannot hold '{wide[0]}', which is {kind}, a dtype that safetensors has not"
            " got; save to .pt."
        )
    tensors, tied = _plain(state)
    texts = {str(key): str(value) for key, value in (metadata or {}).items()}
    if place.suffix in TORCH_SUFFIXES:
        return _save_torch(
            {name: tensors[tied.get(name, name)] for name in state}, texts, place, force
        )
    if tied:
        texts[TIED] = json.dumps(tied, sort_keys=True)
    shards = _shards(tensors, max_shard_bytes)
    if len(shards) > 1:
        return _save_shards(shards, texts, place, force)
    atomic_write(place, lambda temporary: write_safetensors(tensors, temporary, texts), force=force)
    if force:  # what a sharded output of the same name left
        _remove(_index(place), *_old_shards(place))
    return place


def write_safetensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]
) -> None:
    """The library's writer, with the operating system's errors as OSError."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.touch(exist_ok=False)
    mode = (
        path.stat().st_mode
    )  # what this user's files usually get; the library may write one that only its owner can read
    try:
        save_file(dict(tensors), path, metadata={"format": "pt", **metadata})
        os.chmod(path, mode)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
    _sort_metadata(path)


def _sort_metadata(path: Path) -> None:
    """The library writes the metadata's entries in a random order; sorted, the same contents always
    give the same bytes.
    """
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:
            file.seek(8)
            file.write(text.ljust(length))


def _check_path(path: str | os.PathLike[str], force: bool, max_shard_bytes: int | None) -> Path:
    place = check_output(path, force)
    if place.suffix != ".safetensors" and place.suffix not in TORCH_SUFFIXES:
        raise OutputError(
            f"{path} has the unknown suffix '{place.suffix}'; let the name end in .safetensors, .pt"
            " or .pth."
        )
    if max_shard_bytes is not None:
        if (
            isinstance(max_shard_bytes, bool)
            or not isinstance(max_shard_bytes, int)
            or max_shard_bytes < 1
        ):
            raise OutputError(
                f"max_shard_bytes must be a whole number of at least 1, not {max_shard_bytes!r}."
            )
        if place.suffix != ".safetensors":
            raise OutputError(
                f"{path} cannot be written in shards: only safetensors files can; let the name end"
                " in .safetensors."
            )
    if place.suffix == ".safetensors":
        check_output(_index(place), force)
    return place


def _plain(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Contiguous CPU tensors that share no memory, and left-out name -> kept name for those that
    were one and the same tensor.
    """
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    seen: dict[tuple[Any, ...], str] = {}
    storages: set[int] = set()
    for name, tensor in state.items():
        source = tensor.detach()
        if source.numel():
            key = (source.data_ptr(), source.dtype, source.shape, source.stride(), source.device)
            if key in seen:
                tied[name] = seen[key]
                continue
            seen[key] = name
        plain = source.cpu().contiguous()
        storage = plain.untyped_storage()
        # A view of something larger, or of memory already taken under another name, needs memory of
        # its own.
        if storage.nbytes() != plain.numel() * plain.element_size() or (
            plain.numel() and storage.data_ptr() in storages
        ):
            plain = plain.clone()
        storages.add(plain.untyped_storage().data_ptr())
        tensors[name] = plain
    return tensors, tied


def _save_torch(
    state: dict[str, Tensor], metadata: dict[str, str], place: Path, force: bool
) -> Path:
    content = {"state_dict": state, "metadata": metadata} if metadata else state
    return atomic_write(place, lambda temporary: write_torch(content, temporary), force=force)


def write_torch(content: object, path: Path) -> None:
    """torch.save to a new file, with the operating system's errors as OSError."""
    with open(path, "xb") as file:
        recorder = _Recorder(file.write)
        try:
            torch.save(content, recorder)  # type: ignore[arg-type]
            file.flush()
        except RuntimeError as error:  # torch's writer hides what the operating system said
            raise recorder.error or OSError(errno.EIO, str(error).split("\n")[0]) from error


class _Recorder:
    """A file to torch.save, which remembers the first error of writing to it."""

    def __init__(self, write: Callable[[bytes], int]) -> None:
        self._write = write
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._write(data)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        """Part of what torch.save asks of a file."""


def _shards(tensors: dict[str, Tensor], limit: int | None) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if limit is not None and shards[-1] and filled + size > limit:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += size
    return shards


def _save_shards(
    shards: list[dict[str, Tensor]], metadata: dict[str, str], place: Path, force: bool
) -> Path:
    """Write all shards under hidden names, then put them into place, then the index: without an
    index there is no checkpoint.
    """
    index = _index(place)
    files = [
        place.with_name(f"{place.stem}-{number:05d}-of-{len(shards):05d}.safetensors")
        for number in range(1, len(shards) + 1)
    ]
    for file in files:
        check_output(file, force)
    weight_map = {
        name: file.name for file, shard in zip(files, shards, strict=True) for name in shard
    }
    total = sum(
        tensor.numel() * tensor.element_size() for shard in shards for tensor in shard.values()
    )
    text = (
        json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2) + "\n"
    )
    with contextlib.ExitStack() as stack:
        ready = []
        for file, shard in zip(files, shards, strict=True):
            temporary = stack.enter_context(staged(file))
            fill(
                temporary,
                lambda path, shard=shard: write_safetensors(shard, path, metadata),  # type: ignore[misc]
                file,
            )
            ready.append(temporary)
        listing = stack.enter_context(staged(index))
        fill(listing, text, index)
        if force:
            _remove(index)  # an old index must never name new shards
        for temporary, file in zip(ready, files, strict=True):
            publish(temporary, file, file)
        publish(listing, index, index)
    if force:
        _remove(place, *(old for old in _old_shards(place) if old not in files))
    return index


def _index(place: Path) -> Path:
    return place.with_name(place.name + INDEX)


def _old_shards(place: Path) -> list[Path]:
    pattern = re.compile(re.escape(place.stem) + r"-\d{5}-of-\d{5}\.safetensors")
    return [file for file in place.parent.iterdir() if pattern.fullmatch(file.name)]


def _remove(*files: Path) -> None:
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"{file}, left by an earlier output, cannot be removed ({error.strerror}); remove"
                " it by hand."
            ) from error
