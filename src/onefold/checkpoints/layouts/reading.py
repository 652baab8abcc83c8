"""Find the weights of a checkpoint and read their headers; no tensor is read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from onefold.checkpoints.layouts.adapters import CONFIG as ADAPTER
from onefold.checkpoints.layouts.adapters import check_names
from onefold.checkpoints.layouts.ancestry import ancestors_of, told_of
from onefold.checkpoints.layouts.dtypes import NAMES
from onefold.checkpoints.layouts.layout import Held, Layout
from onefold.checkpoints.layouts.pipelines import is_pipeline, read_pipeline
from onefold.checkpoints.layouts.quantised import check_dtypes, check_not_quantised
from onefold.checkpoints.layouts.scales import with_scales
from onefold.errors import WeightsError
from onefold.weights.files import files_of, format_of
from onefold.weights.folders import CONFIG as CONFIG
from onefold.weights.folders import CURE
from onefold.weights.header import read_header

LARGEST_CONFIG = 10_000_000  # bytes
NUMBER = re.compile(r"(\d+)")


def read_layout(path: Path, *, stored: bool = False) -> Layout:
    """The layout of a folder, or of a file.

    Args:
        path: a folder with weights and perhaps a config.json, a pipeline of several such folders, a
            file of weights, or the index of shards.
        stored: tell every tensor as it is stored, those of quantised checkpoints and of adapters
            among them, which cannot be merged; False: refuse what cannot, and apply scales.

    Raises:
        WeightsError: there are no weights or several kinds of them, a file is damaged, or the
            checkpoint is quantised.
    """
    if path.is_dir() and is_pipeline(path):
        return read_pipeline(path, partial(_read, stored=stored))
    return _read(path, stored)


def _read(path: Path, stored: bool) -> Layout:
    """The layout of one network."""
    if path.suffix == ".gguf":
        raise WeightsError(f"{path} is a GGUF file, which is quantised; {CURE}.")
    files, listed, notes = files_of(path)
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
    if stored:
        return Layout(path, tuple(files), tensors, config, metadata, tuple(notes))
    check_names(path, tensors)
    if path.is_dir() and (path / ADAPTER).is_file():
        notes.append(f"{path} holds an adapter beside its weights, which is left out.")
    found = with_scales(tensors, config)
    check_not_quantised(path, found.tensors, found.config)
    check_dtypes(path, {name: held.dtype for name, held in found.tensors.items()})
    notes += [f"In {path}, {note}" for note in found.notes]
    if ancestors := ancestors_of(metadata):
        notes.append(told_of(path, ancestors))
    return Layout(path, tuple(files), found.tensors, found.config, metadata, tuple(notes))


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
