"""Read a checkpoint in whatever common form it comes, and say in words what was done to get at its
state dict.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from onefold.errors import WeightsError
from onefold.weights.checks import check_state
from onefold.weights.header import read_header
from onefold.weights.lazy import LazyState
from onefold.weights.torch_file import read_torch

PathLike = str | os.PathLike[str]

# Where training programs put the state dict inside their checkpoint, in the order of preference.
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
PREFIXES = (
    "module.",
    "_orig_mod.",
)  # put there by DataParallel and AveragedModel, and by torch.compile
TIED = "onefold.tied"  # metadata entry: JSON of left-out name -> name of the tensor that it shares
SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint held.

    Attributes:
        tensors: name -> tensor, on the CPU. From safetensors they stay on disk (LazyState), from
            torch files they are memory-mapped: do not overwrite the files in place while this is in
            use (`onefold.save` does not), or take `load`, which copies.
        format: "safetensors" or "torch".
        paths: the files read.
        subdictionary: the entry of the file that was taken as the state dict, or None where the
            file itself is one.
        prefix: what was taken off the front of every name, such as "module.", or "".
        metadata: the file's own free-text entries.
        notes: what was done, one sentence each; empty for a plain state dict.
    """

    tensors: Mapping[str, Tensor]
    format: str
    paths: tuple[Path, ...]
    subdictionary: str | None = None
    prefix: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read(
    path: PathLike | Sequence[PathLike],
    *,
    check_finite: bool = True,
    subdictionary: str | None = None,
) -> Checkpoint:
    """Read the checkpoint at `path`, never running code from it.

    Args:
        path: a safetensors or torch file, an index file (*.index.json) of shards, or the sequence
            of all shards.
        check_finite: refuse NaN and infinity, which reads all values once.
        subdictionary: the entry to take where a torch checkpoint holds several state dicts; by
            default the first of the usual names.

    Raises:
        WeightsError: the file is missing, damaged, unsafe, quantised, not finite, or holds no state
            dict.
    """
    paths, listed, notes = _files(path)
    formats = {_format(file) for file in paths}
    if len(formats) > 1:
        raise WeightsError(
            f"{paths[0]} and the files given with it are of different formats; give shards of one"
            " checkpoint."
        )
    form = formats.pop()
    tensors: Mapping[str, Tensor]
    taken: str | None = None
    if form == "safetensors":
        if subdictionary is not None:
            raise WeightsError(
                f"{paths[0]} is a safetensors file, which has no sub-dictionary '{subdictionary}';"
                " leave that option out."
            )
        tensors, metadata = _read_safetensors(paths, notes)
    else:
        tensors, metadata, taken = _read_torch(paths, subdictionary, notes)
    where = str(paths[0]) if len(paths) == 1 else f"{paths[0]} (and {len(paths) - 1} more files)"
    if listed is not None:
        tensors = _listed_only(tensors, listed, where, notes)
    if not tensors:
        raise WeightsError(f"{where} holds no tensors; give a checkpoint with a state dict.")
    tensors, prefix = _strip(tensors, notes)
    if isinstance(tensors, LazyState):
        for file in paths:  # each message shall name the file that the tensor lies in
            names = {name: name for name in tensors if tensors.file(name) == file}
            if names:
                check_state(tensors.renamed(names), str(file), check_finite=check_finite)
    else:
        check_state(tensors, where, check_finite=check_finite)
    return Checkpoint(tensors, form, tuple(paths), taken, prefix, metadata, notes)


def load(
    path: PathLike | Sequence[PathLike],
    *,
    check_finite: bool = True,
    subdictionary: str | None = None,
) -> dict[str, Tensor]:
    """The state dict of the checkpoint at `path`, as tensors in memory; see `read`, which also
    tells what was done and reads lazily.
    """
    checkpoint = read(path, check_finite=check_finite, subdictionary=subdictionary)
    return {name: tensor.clone() for name, tensor in checkpoint.tensors.items()}


def _files(
    path: PathLike | Sequence[PathLike],
) -> tuple[list[Path], dict[str, Path] | None, list[str]]:
    """The files to read, and for an index which tensor it says lies in which of them."""
    given = [path] if isinstance(path, str | os.PathLike) else list(path)
    if not given:
        raise WeightsError("No checkpoint file was given; give at least one.")
    paths = [Path(one).expanduser() for one in given]
    for file in paths:
        _check_file(file)
    if len(paths) == 1 and paths[0].suffix == ".json":
        listed = _read_index(paths[0])
        files = sorted(set(listed.values()))
        for file in files:
            _check_file(file, f"which {paths[0]} names")
        return files, listed, [f"Read {len(files)} shards that {paths[0].name} names."]
    if len(set(paths)) < len(paths):
        raise WeightsError(
            f"A file is given twice among {', '.join(map(str, paths))}; give each shard once."
        )
    if match := SHARD.fullmatch(paths[0].name):
        count = int(match["count"])
        if len(paths) != count:
            raise WeightsError(
                f"{paths[0]} is one of {count} shards, but {len(paths)} given; give the index file"
                " (*.index.json) or all shards."
            )
    return paths, None, []


def _check_file(path: Path, why: str = "") -> None:
    named = f"{path}, {why}," if why else str(path)
    try:
        if path.is_dir():
            inside = sorted(
                file.name
                for file in path.iterdir()
                if file.name.endswith((".safetensors", ".index.json", ".pt", ".pth", ".bin"))
            )
            hint = f", for example {path / inside[0]}" if inside else ""
            raise WeightsError(f"{named} is a folder; give the checkpoint file in it{hint}.")
        if not path.exists():
            raise WeightsError(f"{named} does not exist; check the path.")
        with open(path, "rb"):
            pass
    except OSError as error:
        raise WeightsError(
            f"{named} cannot be read ({error.strerror or error}); check its permissions."
        ) from error


def _read_index(path: Path) -> dict[str, Path]:
    try:
        weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        pairs = {str(name): str(file) for name, file in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path} is no index of a sharded checkpoint: it has no table weight_map; give the"
            " *.index.json file."
        ) from error
    if not pairs:
        raise WeightsError(f"{path} names no tensors; write the checkpoint again.")
    for file in pairs.values():
        if Path(file).name != file or file in ("", ".", ".."):
            raise WeightsError(
                f"{path} names the file '{file}', which is not beside it; shards must lie in the"
                " index's own folder."
            )
    return {name: path.parent / file for name, file in pairs.items()}


def _format(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(9)
    return "safetensors" if start[8:9] == b"{" or path.suffix == ".safetensors" else "torch"


def _read_safetensors(paths: Sequence[Path], notes: list[str]) -> tuple[LazyState, dict[str, str]]:
    places: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    for path in paths:
        header = read_header(path)
        for name, stored in header.tensors.items():
            if name in places:
                raise WeightsError(
                    f"'{name}' is both in {places[name][0]} and in {path}; give shards of one"
                    " checkpoint."
                )
            places[name] = (path, name, stored)
        metadata.update(header.metadata)
    metadata.pop("format", None)  # the format's own mark, always "pt"
    tied = metadata.pop(TIED, None)
    if tied is not None:
        for name, kept in _tied_names(tied, paths[0]).items():
            if kept not in places or name in places:
                raise WeightsError(
                    f"{paths[0]} says that '{name}' is tied to '{kept}', which does not fit its"
                    " tensors; write it again."
                )
            places[name] = places[kept]
            notes.append(f"'{name}' shares the tensor '{kept}'.")
    return LazyState(places), metadata


def _tied_names(text: str, path: Path) -> dict[str, str]:
    try:
        return {str(name): str(kept) for name, kept in json.loads(text).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path} has damaged metadata: {TIED} is no table of names; write the file again."
        ) from error


def _read_torch(
    paths: Sequence[Path], wanted: str | None, notes: list[str]
) -> tuple[dict[str, Tensor], dict[str, str], str | None]:
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    taken: str | None = None
    for path in paths:
        found, beside, taken = _state_dict(read_torch(path), path, wanted, notes)
        metadata.update(beside)
        for name, tensor in found.items():
            if name in tensors:
                raise WeightsError(
                    f"'{name}' is in {path} and in another of the files given; give shards of one"
                    " checkpoint."
                )
            tensors[name] = tensor
    return tensors, metadata, taken


def _state_dict(
    content: Any, path: Path, wanted: str | None, notes: list[str]
) -> tuple[dict[str, Tensor], dict[str, str], str | None]:
    """Find the state dict in what a torch file held: the content itself, or one of its entries."""
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
    taken: str | None = None
    if wanted is not None:
        if wanted not in inner:
            raise WeightsError(
                f"{path} has no state dict '{wanted}'; it has"
                f" {', '.join(map(repr, inner)) or 'none'}."
            )
        taken = wanted
    elif not _tensors(content):
        taken = next(
            (key for key in SUBDICTIONARIES if key in inner), inner[0] if len(inner) == 1 else None
        )
        if taken is None:
            entries = ", ".join(repr(key) for key in list(content)[:6])
            raise WeightsError(
                f"{path} holds no tensors where a state dict is expected; its entries are"
                f" {entries or 'none'}."
            )
    beside: dict[str, str] = {}
    if taken is not None:
        notes.append(f"Took the entry '{taken}' of {path.name}.")
        others = [key for key in inner if key != taken and key != "optimizer"]
        if others:
            notes.append(
                f"{path.name} also holds the state dicts {', '.join(map(repr, others))}; ask for"
                " one with subdictionary=."
            )
        given = content.get("metadata")
        if isinstance(given, Mapping):
            beside = {str(key): value for key, value in given.items() if isinstance(value, str)}
        content = content[taken]
    state = _tensors(content)
    ignored = [str(key) for key in content if key not in state]
    if ignored:
        notes.append(
            f"Ignored {len(ignored)} entries of {path.name} that are no tensors:"
            f" {', '.join(ignored[:5])}."
        )
    return state, beside, taken


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {
        key: value
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }


def _listed_only(
    tensors: Mapping[str, Tensor], listed: Mapping[str, Path], where: str, notes: list[str]
) -> Mapping[str, Tensor]:
    """Exactly the tensors that the index names; tied names come on top of them."""
    missing = [name for name in listed if name not in tensors]
    if missing:
        raise WeightsError(
            f"{where} lacks '{missing[0]}' ({len(missing)} missing), which the index names; get the"
            " shards again."
        )
    if isinstance(tensors, LazyState):
        for name, file in listed.items():
            if tensors.file(name) != file:
                raise WeightsError(
                    f"'{name}' lies in {tensors.file(name)}, but the index says {file}; get the"
                    " shards and the index again."
                )
    extra = [name for name in tensors if name not in listed]
    if extra:
        notes.append(
            f"Kept {len(extra)} tensors that the index does not name, such as '{extra[0]}'."
        )
    return tensors


def _strip(tensors: Mapping[str, Tensor], notes: list[str]) -> tuple[Mapping[str, Tensor], str]:
    """Take off wrappers' prefixes, if every name has them; AveragedModel's counter `n_averaged` is
    left out.
    """
    names = {name: name for name in tensors}
    prefix = ""
    while found := next(
        (p for p in PREFIXES if all(name.startswith(p) or name == "n_averaged" for name in names)),
        None,
    ):
        if set(names) == {"n_averaged"}:
            break
        names = {
            name.removeprefix(found): old for name, old in names.items() if name != "n_averaged"
        }
        prefix += found
    if not prefix:
        return tensors, ""
    notes.append(f"Took the prefix '{prefix}' off every name.")
    if isinstance(tensors, LazyState):
        return tensors.renamed(names), prefix
    return {name: tensors[old] for name, old in names.items()}, prefix
