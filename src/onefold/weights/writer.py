"""Write a checkpoint in one step: it appears in full under its name, or the old one stays."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from onefold.arguments import checked
from onefold.errors import OutputError, WeightsError
from onefold.weights.atomic import atomic_directory, atomic_write, check_output
from onefold.weights.checks import check_state
from onefold.weights.file_writers import write_safetensors, write_torch
from onefold.weights.pretrained import is_transformer, write_by_class
from onefold.weights.resized import mark_of, metadata_of
from onefold.weights.safetensors_state import TIED
from onefold.weights.shards import in_shards, index_of, old_shards, remove, save_shards

SAFETENSORS = ".safetensors"
TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")
OLD = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json")  # of a folder
UNWRITABLE = (torch.complex128, torch.complex32)  # dtypes that safetensors has not got


@checked
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

    A network of transformers is also written as a folder, with its config, as `from_pretrained`
    reads it. `onefold.integrations.save_pretrained` adds a tokenizer and a card.

    A network that `onefold.resize` made is written with its widths, in the file's metadata;
    `onefold.load_resized` reads it.

    Names that share one tensor (tied weights) are stored once. The metadata says which, and
    `onefold.load` gives all names back.

    Args:
        model_or_state: the network or its state dict; neither is changed.
        path: a file *.safetensors, or *.pt, *.pth, *.ckpt, *.bin for torch's own format; its folder
            must exist. Of a network of transformers, any other name is that of a folder.
        metadata: texts to store with the tensors. In torch's format the state dict then becomes the
            entry "state_dict", beside "metadata". A folder takes none.
        force: replace an existing file.
        max_shard_bytes: split into files of at most this many bytes of tensors (one tensor is never
            split), named NAME-00001-of-00003.safetensors and so on, with an index
            NAME.safetensors.index.json, which is written last.
        check_finite: refuse NaN and infinity.

    Returns:
        What to load again: `path`, or the index file.

    Raises:
        OutputError: the output exists, its folder is missing, its suffix is unknown, or the disk is
            full, or a folder cannot say the widths of a resized network. Nothing is changed then.
        WeightsError: there are no tensors, or unfit ones (see `check_state`).
    """
    if isinstance(model_or_state, nn.Module) and _is_folder(model_or_state, path):
        if metadata:
            raise OutputError(
                f"{path} is a folder, whose files take no metadata; leave it out, or let the name"
                " end in .safetensors."
            )
        if mark_of(model_or_state) and not mark_of(model_or_state).get("said"):
            raise OutputError(
                f"{path} is a folder, whose config cannot say the widths of this resized"
                f" {type(model_or_state).__name__}; let the name end in .safetensors."
            )
        _check_shards(max_shard_bytes)
        with atomic_directory(path, force=force, replaces=OLD) as folder:
            write_by_class(model_or_state, folder, max_shard_bytes, check_finite=check_finite)
        return check_output(path, True, folder=True)
    target = _check_path(path, force, max_shard_bytes)
    state = _checked_state(model_or_state, path, target, check_finite)
    tensors, tied = _plain(state)
    texts = {str(key): str(value) for key, value in (metadata or {}).items()}
    if isinstance(model_or_state, nn.Module):
        texts = metadata_of(model_or_state) | texts
    if target.suffix in TORCH_SUFFIXES:
        whole = {name: tensors[tied.get(name, name)] for name in state}
        content = {"state_dict": whole, "metadata": texts} if texts else whole
        return atomic_write(target, lambda temporary: write_torch(content, temporary), force=force)
    if tied:
        texts[TIED] = json.dumps(tied, sort_keys=True)
    shards = in_shards(tensors, max_shard_bytes)
    if len(shards) > 1:
        return save_shards(shards, texts, target, force)
    atomic_write(
        target, lambda temporary: write_safetensors(tensors, temporary, texts), force=force
    )
    if force:  # what a sharded output of the same name left
        remove(index_of(target), *old_shards(target))
    return target


def _is_folder(network: nn.Module, path: str | os.PathLike[str]) -> bool:
    """Whether a network is meant to become a folder."""
    return is_transformer(network) and Path(path).suffix not in (SAFETENSORS, *TORCH_SUFFIXES)


def _checked_state(
    model_or_state: nn.Module | Mapping[str, Tensor],
    path: str | os.PathLike[str],
    target: Path,
    check_finite: bool,
) -> Mapping[str, Tensor]:
    """The state dict to write. Raises WeightsError if it is unfit for a file like `target`."""
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
    if target.suffix == SAFETENSORS:
        for name, tensor in state.items():
            if tensor.dtype in UNWRITABLE:
                kind = str(tensor.dtype).removeprefix("torch.")
                raise WeightsError(
                    f"{path} cannot hold '{name}', which is {kind}, a dtype that safetensors has"
                    " not got; save to .pt."
                )
    return state


def _check_path(path: str | os.PathLike[str], force: bool, max_shard_bytes: int | None) -> Path:
    """The real path of the output. Raises OutputError if it or the size of shards is unusable."""
    target = check_output(path, force)
    if target.suffix != SAFETENSORS and target.suffix not in TORCH_SUFFIXES:
        raise OutputError(
            f"{path} has the unknown suffix '{target.suffix}'; let the name end in .safetensors,"
            " .pt or .pth."
        )
    if max_shard_bytes is not None:
        _check_shards(max_shard_bytes)
        if target.suffix != SAFETENSORS:
            raise OutputError(
                f"{path} cannot be written in shards: only safetensors files can; let the name end"
                " in .safetensors."
            )
    if target.suffix == SAFETENSORS:
        check_output(index_of(target), force)
    return target


def _check_shards(most: int | None) -> None:
    """Raises OutputError if it is no number of bytes."""
    number = isinstance(most, int) and not isinstance(most, bool)
    if most is not None and (not number or most < 1):
        raise OutputError(f"max_shard_bytes must be a whole number of at least 1, not {most!r}.")


def _plain(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Contiguous CPU tensors that share no memory, and left-out name -> kept name.

    A name is left out if its tensor is one and the same as that of the kept name.
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
        view = storage.nbytes() != plain.numel() * plain.element_size()
        if view or (plain.numel() and storage.data_ptr() in storages):
            plain = plain.clone()
        storages.add(plain.untyped_storage().data_ptr())
        tensors[name] = plain
    return tensors, tied
