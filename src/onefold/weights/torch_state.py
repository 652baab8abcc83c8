"""The state dict in torch files: the content itself, or the entry of it that training wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from onefold.errors import WeightsError
from onefold.weights.selection import entry_of
from onefold.weights.torch_file import read_torch
from onefold.weights.torch_tensors import lack_of
from onefold.weights.unpickling import Made

# The entries under which training programs save the state dict, in the order of preference.
USUAL = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "state",
    "network",
    "net",
    "module",
    "params",
    "model_ema",
    "ema",
)
DEPTH = 3  # entries within entries that are looked for
SHOWN = 6  # entries listed in a message
MOST_VIEWS = 4  # times the file's size: tensors that overlap or are expanded take more in memory


def read_torch_state(
    paths: Sequence[Path], wanted: str | None, notes: list[str]
) -> tuple[dict[str, Tensor], dict[str, str], str | None]:
    """The tensors of all files together.

    Args:
        paths: the files; no two may hold a tensor of one name.
        wanted: the entry to take; None takes the first of the usual names.
        notes: sentences on what was taken and what was ignored are appended here.

    Returns:
        The tensors, the texts beside them, and the entry that was taken (None: the file itself).

    Raises:
        WeightsError: a file is damaged, unsafe or holds no state dict, or a name is in two files.
    """
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    entry: str | None = None
    for path in paths:
        content, inner, left = read_torch(path, wanted)
        if inner is not None:
            notes.append(f"Took the file '{inner}' in {path.name}.")
        state, texts, entry = _state_dict(content, path, left, notes)
        metadata.update(texts)
        for name, tensor in state.items():
            if name in tensors:
                raise WeightsError(
                    f"'{name}' is in {path} and in another of the files given; give shards of one"
                    " checkpoint."
                )
            tensors[name] = tensor
    _check_size(tensors, paths)
    return tensors, metadata, entry


def _state_dict(
    content: Any, path: Path, wanted: str | None, notes: list[str]
) -> tuple[dict[str, Tensor], dict[str, str], str | None]:
    """The state dict in the content of a torch file, the texts beside it, and its entry."""
    if not isinstance(content, Mapping):
        kind = content.kind if isinstance(content, Made) else type(content).__name__
        raise WeightsError(
            f"{path} holds a {kind}, not a state dict; save the network's state_dict()."
        )
    state, texts = content, {}
    entry = _entry(content, path, wanted)
    if entry is not None:
        notes.append(f"Took the entry '{entry}' of {path.name}.")
        others = [key for key in _inner(content) if key != entry]
        if others and wanted is None:
            notes.append(
                f"{path.name} also holds the state dicts {', '.join(map(repr, others[:SHOWN]))};"
                " ask for one with entry=."
            )
        given = content.get("metadata")
        if isinstance(given, Mapping):
            texts = {str(key): value for key, value in given.items() if isinstance(value, str)}
        state = entry_of(content, entry)
    for key, value in state.items():
        if lack := lack_of(value):
            raise WeightsError(
                f"{path} holds '{key}' as {lack}, which cannot be averaged; give a checkpoint of"
                " plain tensors, such as the one from before it was converted."
            )
    tensors = _tensors(state)
    ignored = [str(key) for key in state if key not in tensors]
    if ignored:
        notes.append(
            f"Ignored {len(ignored)} entries of {path.name} that are no tensors:"
            f" {', '.join(ignored[:5])}."
        )
    return tensors, texts, entry


def _entry(content: Mapping[Any, Any], path: Path, wanted: str | None) -> str | None:
    """The entry to take as the state dict; None for the content itself."""
    inner = list(_inner(content))
    if wanted is not None:
        found = entry_of(content, wanted)
        if not isinstance(found, Mapping) or not _holds_tensors(found):
            raise WeightsError(
                f"{path} has no state dict '{wanted}'; it has"
                f" {', '.join(map(repr, inner[:SHOWN])) or 'none'}."
            )
        return wanted
    # First the usual names: beside them there may be single tensors, such as an accuracy.
    usual = next((key for key in USUAL if key in inner), None)
    if usual is not None:
        return usual
    likely = [key for key in inner if not key.startswith("optim") and "_extra_state" not in key]
    own = len(list(_tensor_names(content)))
    if own and all(len(list(_tensor_names(entry_of(content, key)))) <= own for key in likely):
        return None
    if len(likely) == 1:
        return likely[0]
    if likely:
        listed = ", ".join(map(repr, likely[:SHOWN]))
        raise WeightsError(
            f"{path} holds the state dicts {listed}, and nothing says which is meant; say it by"
            f" entry=, as entry={likely[0]!r}."
        )
    entries = ", ".join(repr(key)[:60] for key in list(content)[:SHOWN])
    raise WeightsError(
        f"{path} holds no tensors where a state dict is expected; its entries are"
        f" {entries or 'none'}."
    )


def _inner(content: Mapping[Any, Any]) -> Iterator[str]:
    """The dotted paths of the state dicts in the content, the outermost first."""
    level: list[tuple[str, Any]] = [("", content)]
    seen: set[int] = set()
    for _ in range(DEPTH):
        below: list[tuple[str, Any]] = []
        for start, table in level:
            for key, value in table.items():
                if not isinstance(key, str) or not isinstance(value, Mapping) or id(value) in seen:
                    continue
                seen.add(id(value))
                if _holds_tensors(value):
                    yield f"{start}{key}"
                else:
                    below.append((f"{start}{key}.", value))
        level = below


def _holds_tensors(content: Mapping[Any, Any]) -> bool:
    return any(True for _ in _tensor_names(content))


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The entries that are tensors under a text."""
    return {
        name: content[name] for name in _tensor_names(content) if isinstance(content[name], Tensor)
    }


def _tensor_names(content: Mapping[Any, Any]) -> Iterator[str]:
    """The names of tensors, also of those without plain values."""
    for key, value in content.items():
        if isinstance(key, str) and (isinstance(value, Tensor) or lack_of(value)):
            yield key


def _check_size(tensors: Mapping[str, Tensor], paths: Sequence[Path]) -> None:
    """Refuse tensors that would take far more memory than the files have bytes.

    A tensor that was expanded before it was saved has few bytes in the file and many in memory.
    """
    views = {
        (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()): name
        for name, tensor in tensors.items()
    }
    sizes = {name: tensors[name].numel() * tensors[name].element_size() for name in views.values()}
    storages = [tensor.untyped_storage() for tensor in tensors.values()]
    held = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
    size, taken = sum(path.stat().st_size for path in paths), sum(sizes.values())
    if taken > MOST_VIEWS * max(size, held):
        name = max(sizes, key=sizes.__getitem__)
        raise WeightsError(
            f"{paths[0]} has {size} bytes, but its tensors would take {taken} in memory, most of"
            f" them '{name}', which was expanded before it was saved; save it as it was before, or"
            " leave it out."
        )
