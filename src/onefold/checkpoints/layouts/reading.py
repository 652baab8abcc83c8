"""Find the weights of a checkpoint and read their headers; no tensor is read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onefold.checkpoints.layouts.dtypes import NAMES
from onefold.checkpoints.layouts.layout import Held, Layout
from onefold.checkpoints.layouts.quantised import CURE, check_dtypes, check_not_quantised
from onefold.errors import WeightsError
from onefold.weights.files import SHARD, files_of, format_of
from onefold.weights.header import read_header

CONFIG = "config.json"
FIRST = (
    "model.safetensors.index.json",
    "model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)  # files of weights that libraries write, in the order in which they are looked for
ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
LARGEST_CONFIG = 10_000_000  # bytes
NUMBER = re.compile(r"(\d+)")


def read_layout(path: Path) -> Layout:
    """The layout of a folder, or of a file.

    Args:
        path: a folder with weights and perhaps a config.json, a file of weights, or the index of
            shards.

    Raises:
        WeightsError: there are no weights or several kinds of them, a file is damaged, or the
            checkpoint is quantised.
    """
    if path.suffix == ".gguf":
        raise WeightsError(f"{path} is a GGUF file, which is quantised; {CURE}.")
    given = _weights_in(path) if path.is_dir() else path
    files, listed, notes = files_of(given)
    folder = path if path.is_dir() else path.parent
    config = _config(folder)
    files = sorted(files, key=_numbered)
    kinds = {format_of(file) for file in files}
    if len(kinds) > 1:
        raise WeightsError(f"{path} has shards of different formats; write it again.")
    metadata: dict[str, str] = {}
    if kinds == {"safetensors"}:
        tensors = _safetensors(files, metadata)
    else:
        tensors = _torch(files, notes)
    if listed is not None:
        lacking = [name for name in listed if name not in tensors]
        if lacking:
            raise WeightsError(
                f"{path} lacks '{lacking[0]}' ({len(lacking)} missing), which its index names; get"
                " the shards again."
            )
    if not tensors:
        raise WeightsError(f"{path} holds no tensors; give a checkpoint with weights.")
    check_not_quantised(path, tensors, config)
    check_dtypes(path, {name: held.dtype for name, held in tensors.items()})
    return Layout(path, tuple(files), tensors, config, metadata, tuple(notes))


def _weights_in(folder: Path) -> Any:
    """The file, the index or the shards to read in a folder."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError as error:
        raise WeightsError(f"{folder} cannot be read ({error.strerror}).") from error
    for name in FIRST:
        if name in names:
            return folder / name
    if "model_index.json" in names:
        raise WeightsError(
            f"{folder} is a pipeline of several networks; merge them one by one, as with"
            f" {folder / 'unet'}."
        )
    if "adapter_config.json" in names:
        raise WeightsError(
            f"{folder} holds an adapter and no whole model; add it to its base first, as with"
            " merge_and_unload of peft."
        )
    if indices := [name for name in names if name.endswith(".safetensors.index.json")]:
        return _only(folder, indices)
    shards = [name for name in names if SHARD.fullmatch(name) and name.endswith(ENDINGS)]
    if shards:
        return [folder / name for name in shards]
    single = [name for name in names if name.endswith(".safetensors")]
    single = single or [name for name in names if name.endswith(ENDINGS[1:])]
    if any(name.endswith(".gguf") for name in names) and not single:
        raise WeightsError(f"{folder} holds GGUF files, which are quantised; {CURE}.")
    return _only(folder, single)


def _only(folder: Path, names: Sequence[str]) -> Path:
    if not names:
        raise WeightsError(
            f"{folder} holds no weights (safetensors, or torch files); give a folder that does."
        )
    if len(names) > 1:
        listed = ", ".join(names[:3])
        raise WeightsError(f"{folder} holds several files of weights ({listed}); name one of them.")
    return folder / names[0]


def _numbered(path: Path) -> list[Any]:
    """The parts of a name, with the numbers of shards as numbers."""
    return [int(part) if part.isdigit() else part for part in NUMBER.split(path.name)]


def _config(folder: Path) -> Mapping[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise ValueError("it is too large")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is no table")
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read ({str(error)[:100]}); get it again.") from error
    return content


def _safetensors(files: Sequence[Path], metadata: dict[str, str]) -> dict[str, Held]:
    tensors: dict[str, Held] = {}
    for file in files:
        header = read_header(file)
        with open(file, "rb") as stream:
            start = 8 + int.from_bytes(stream.read(8), "little")
        for name, stored in sorted(header.tensors.items(), key=lambda item: item[1].begin):
            if name in tensors:
                raise WeightsError(
                    f"'{name}' is both in {tensors[name].file} and in {file}; give shards of one"
                    " checkpoint."
                )
            tensors[name] = Held(
                name, NAMES[stored.dtype], stored.shape, file, start + stored.begin
            )
        metadata.update(header.metadata)
    metadata.pop("format", None)
    return tensors


def _torch(files: Sequence[Path], notes: list[str]) -> dict[str, Held]:
    """The tensors of torch files, which are read by a reader that runs no code from them."""
    from onefold.weights.torch_state import read_torch_state  # imports torch

    tensors: dict[str, Held] = {}
    for file in files:
        state, _, _ = read_torch_state([file], None, notes)
        for name, tensor in state.items():
            if name in tensors:
                raise WeightsError(
                    f"'{name}' is both in {tensors[name].file} and in {file}; give shards of one"
                    " checkpoint."
                )
            dtype = str(tensor.dtype).removeprefix("torch.")
            tensors[name] = Held(name, dtype, tuple(tensor.shape), file, None)
    return tensors
