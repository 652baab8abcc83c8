"""The tensors of a checkpoint as they are stored, told from headers alone."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onefold.checkpoints.document.cache import is_name, snapshot
from onefold.checkpoints.layouts import Held, Layout, read_layout
from onefold.checkpoints.layouts.adapters import is_adapter_name
from onefold.checkpoints.layouts.dtypes import CODES
from onefold.errors import WeightsError

LARGEST_TEXT = 2**28  # bytes of a JSON file
ADAPTER = "adapter_model.safetensors"  # beside which a folder holds no other weights


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
    def is_adapter(self) -> bool:
        """Whether it is an adapter and no whole model."""
        return any(map(is_adapter_name, self.entries))

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
    layout = read_layout(_weights_of(place), stored=True)
    states = _states(layout)
    entries = {name: _entry(held, states) for name, held in layout.tensors.items()}
    return Opened(place, layout.folder, entries)


def _entry(held: Held, states: dict[Path, Any]) -> Entry:
    """A tensor of a layout."""
    dtype = CODES.get(held.dtype, held.dtype)
    if held.begin is not None:
        return Entry(held.file, dtype, held.shape, held.begin)
    return Entry(held.file, dtype, held.shape, 0, states[held.file][held.key or held.name])


def _states(layout: Layout) -> dict[Path, Any]:
    """The tensors of torch files, mapped by a reader that runs no code from them."""
    files = dict.fromkeys(held.file for held in layout.tensors.values() if held.begin is None)
    if not files:
        return {}
    from onefold.weights.torch_state import read_torch_state  # imports torch

    return {file: read_torch_state([file], None, [])[0] for file in files}


def _weights_of(place: Path) -> Path:
    """What is read of a place: the file of an adapter, which is no network, but comparable."""
    adapter = place / ADAPTER
    return adapter if place.is_dir() and adapter.is_file() else place


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
    return place


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
