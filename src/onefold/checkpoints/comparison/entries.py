"""The tensors of a checkpoint, found in a folder or file and read from headers alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onefold.checkpoints.document.cache import is_name, snapshot
from onefold.errors import WeightsError
from onefold.weights.files import SHARD, files_of, format_of
from onefold.weights.header import read_header

FIRST = (
    "model.safetensors.index.json",
    "model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
    "diffusion_pytorch_model.bin",
)  # files of weights that libraries write, in the order in which they are looked for
ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
OTHERS = ("training_args", "optimizer", "scheduler", "rng_state", "scaler")  # no weights in these
TORCH_CODES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}  # a dtype as torch names it -> as safetensors names it
LARGEST_TEXT = 2**28  # bytes of a JSON file


@dataclass(frozen=True)
class Entry:
    """One tensor of a checkpoint.

    Attributes:
        file: the file that holds it.
        dtype: as safetensors names it, such as "BF16".
        shape: its shape.
        begin: its first byte, counted from the file's start.
        tensor: of torch files, the tensor itself, mapped.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int = 0
    tensor: Any = None


@dataclass(frozen=True)
class Opened:
    """A checkpoint of which the headers were read.

    Attributes:
        path: the folder or file.
        folder: the folder of config and tokenizer.
        entries: the tensors by name, in the order of the files.
    """

    path: Path
    folder: Path
    entries: dict[str, Entry]

    @property
    def nbytes(self) -> int:
        """The bytes of all files of weights."""
        return sum(os.path.getsize(file) for file in {e.file for e in self.entries.values()})


def open_checkpoint(path: str | os.PathLike[str]) -> Opened:
    """Find the weights of a checkpoint and read their headers.

    Args:
        path: a folder, a file, the index of shards, or the name of a model in the local cache of
            Hugging Face.

    Raises:
        WeightsError: there are none or several, a file is missing or damaged, or a name occurs
            twice.
    """
    place = _place(path)
    folder = place if place.is_dir() else place.parent
    entries: dict[str, Entry] = {}
    parts = list(_parts(place)) if place.is_dir() else [("", place)]
    for prefix, given in parts:
        for name, entry in _read(given):
            if prefix + name in entries:
                raise WeightsError(
                    f"'{prefix + name}' is both in {entries[prefix + name].file} and in"
                    f" {entry.file}; give shards of one checkpoint."
                )
            entries[prefix + name] = entry
    if not entries:
        raise WeightsError(f"{place} holds no tensors; give a checkpoint with weights.")
    return Opened(place, folder, entries)


def _place(path: str | os.PathLike[str]) -> Path:
    """The folder or file that a path or a name means."""
    given = os.fspath(path)
    place = Path(given).expanduser()
    if not place.exists():
        found = snapshot(given) if is_name(given) else None
        if found is None:
            also = "" if not is_name(given) else " nor a model in the local cache of Hugging Face"
            raise WeightsError(f"{given} is neither a folder or file{also}; check the path.")
        place = found.folder
    if place.suffix == ".gguf":
        raise WeightsError(f"{place} is a GGUF file, which is quantised; give what it was made of.")
    return place


def _parts(folder: Path) -> Iterator[tuple[str, Any]]:
    """The weights of a folder and of the components that its own list names, with prefixes."""
    components = _components(folder)
    own = _weights_in(folder, bool(components))
    if own is not None:
        yield "", own
    found = own is not None
    for name in components:
        inner = _weights_in(folder / name, True)
        if inner is not None:
            found = True
            yield f"{name}/", inner
    if not found:
        raise WeightsError(
            f"{folder} holds no weights (safetensors, or torch files); give a folder that does."
        )


def _components(folder: Path) -> list[str]:
    """The sub-folders that model_index.json (diffusers) or modules.json (embeddings) names."""
    index, modules = read_table(folder / "model_index.json"), folder / "modules.json"
    names = [key for key, value in index.items() if isinstance(value, list)]
    if modules.is_file():
        listed = _json(modules)
        pairs = listed if isinstance(listed, list) else []
        names += [str(one["path"]) for one in pairs if isinstance(one, dict) and one.get("path")]
    return [name for name in names if Path(name).name == name and (folder / name).is_dir()]


def _weights_in(folder: Path, optional: bool) -> Any:
    """The file, the index or the shards to read in a folder; None: nothing, where that may be."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError as error:
        raise WeightsError(f"{folder} cannot be read ({error.strerror}).") from error
    for name in FIRST:
        if name in names:
            return folder / name
    names = [name for name in names if not name.startswith(OTHERS)]
    indices = [name for name in names if name.endswith(".safetensors.index.json")]
    shards = [name for name in names if SHARD.fullmatch(name) and name.endswith(ENDINGS)]
    single = [name for name in names if name.endswith(".safetensors")]
    single = single or [name for name in names if name.endswith(ENDINGS[1:])]
    if not indices and shards:
        return [folder / name for name in shards]
    found = indices or single
    if len(found) > 1:
        raise WeightsError(
            f"{folder} holds several files of weights ({', '.join(found[:3])}); name one of them."
        )
    if found:
        return folder / found[0]
    if not optional:
        if any(name.endswith(".gguf") for name in names):
            raise WeightsError(
                f"{folder} holds GGUF files, which are quantised; give what they were made of."
            )
        raise WeightsError(
            f"{folder} holds no weights (safetensors, or torch files); give a folder that does."
        )
    return None


def _read(given: Any) -> Iterator[tuple[str, Entry]]:
    """The tensors of files, in their order there."""
    files, listed, _ = files_of(given)
    seen = set()
    for file in files:
        for name, entry in _safetensors(file) if format_of(file) == "safetensors" else _torch(file):
            seen.add(name)
            yield name, entry
    lacking = [name for name in listed or () if name not in seen]
    if lacking:
        raise WeightsError(
            f"{files[0].parent} lacks '{lacking[0]}' ({len(lacking)} missing), which its index"
            " names; get the shards again."
        )


def _safetensors(file: Path) -> Iterator[tuple[str, Entry]]:
    header = read_header(file)
    with open(file, "rb") as stream:
        start = 8 + int.from_bytes(stream.read(8), "little")
    for name, stored in sorted(header.tensors.items(), key=lambda item: item[1].begin):
        yield name, Entry(file, stored.dtype, stored.shape, start + stored.begin)


def _torch(file: Path) -> Iterator[tuple[str, Entry]]:
    """The tensors of a torch file, mapped by a reader that runs no code from it."""
    from onefold.weights.torch_state import read_torch_state  # imports torch

    state, _, _ = read_torch_state([file], None, [])
    for name, tensor in state.items():
        kind = str(tensor.dtype).removeprefix("torch.")
        yield name, Entry(file, TORCH_CODES.get(kind, kind), tuple(tensor.shape), 0, tensor)


def read_table(path: Path) -> dict[str, Any]:
    """The content of a JSON file that holds a table; {} if there is no such file.

    Raises:
        WeightsError: it cannot be read or holds something else.
    """
    if not path.is_file():
        return {}
    content = _json(path)
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds no table of keys and values; get it again.")
    return content


def _json(path: Path) -> Any:
    try:
        if path.stat().st_size > LARGEST_TEXT:
            raise ValueError("it is too large")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read ({str(error)[:100]}); get it again.") from error
