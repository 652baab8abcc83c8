"""The state dict in torch files: the content itself, or the entry of it that training wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from onefold.errors import WeightsError
from onefold.weights.torch_file import read_torch

# The entries under which training programs save the state dict, in the order of preference.
SUBDICTIONARIES = (
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
        state, texts, entry = _state_dict(read_torch(path), path, wanted, notes)
        metadata.update(texts)
        for name, tensor in state.items():
            if name in tensors:
                raise WeightsError(
                    f"'{name}' is in {path} and in another of the files given; give shards of one"
                    " checkpoint."
                )
            tensors[name] = tensor
    return tensors, metadata, entry


def _state_dict(
    content: Any, path: Path, wanted: str | None, notes: list[str]
) -> tuple[dict[str, Tensor], dict[str, str], str | None]:
    """The state dict in the content of a torch file, the texts beside it, and its entry."""
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path} holds a {type(content).__name__}, not a state dict; save the network's"
            " state_dict()."
        )
    inner = [
        key
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, Mapping) and _tensors(value)
    ]
    entry = _entry(content, inner, path, wanted)
    texts: dict[str, str] = {}
    if entry is not None:
        notes.append(f"Took the entry '{entry}' of {path.name}.")
        others = [key for key in inner if key != entry and key != "optimizer"]
        if others:
            notes.append(
                f"{path.name} also holds the state dicts {', '.join(map(repr, others))}; ask for"
                " one with subdictionary=."
            )
        given = content.get("metadata")
        if isinstance(given, Mapping):
            texts = {str(key): value for key, value in given.items() if isinstance(value, str)}
        content = content[entry]
    state = _tensors(content)
    ignored = [str(key) for key in content if key not in state]
    if ignored:
        notes.append(
            f"Ignored {len(ignored)} entries of {path.name} that are no tensors:"
            f" {', '.join(ignored[:5])}."
        )
    return state, texts, entry


def _entry(
    content: Mapping[Any, Any], inner: Sequence[str], path: Path, wanted: str | None
) -> str | None:
    """The entry to take as the state dict, one of `inner`; None for the content itself."""
    if wanted is not None:
        if wanted not in inner:
            raise WeightsError(
                f"{path} has no state dict '{wanted}'; it has"
                f" {', '.join(map(repr, inner)) or 'none'}."
            )
        return wanted
    if _tensors(content):
        return None
    usual = next((key for key in SUBDICTIONARIES if key in inner), None)
    if usual is not None:
        return usual
    if len(inner) == 1:
        return inner[0]
    entries = ", ".join(repr(key) for key in list(content)[:6])
    raise WeightsError(
        f"{path} holds no tensors where a state dict is expected; its entries are"
        f" {entries or 'none'}."
    )


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The entries that are tensors under a text."""
    return {
        key: value
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
