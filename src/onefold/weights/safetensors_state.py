"""The state dict in safetensors files: tied names, and the files that an index promises."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from onefold.errors import WeightsError
from onefold.weights.header import read_header
from onefold.weights.lazy import LazyState

TIED = "onefold.tied"  # metadata entry: JSON of left-out name -> name of the tensor that it shares


def read_safetensors(paths: Sequence[Path], notes: list[str]) -> tuple[LazyState, dict[str, str]]:
    """The tensors of all files together, and their metadata. No tensor is read.

    Args:
        paths: the files; no two may hold a tensor of one name.
        notes: sentences on tied names are appended here.

    Raises:
        WeightsError: a file is damaged, a name occurs in two files, or tied names do not fit.
    """
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


def check_listed(
    tensors: Mapping[str, Tensor], listed: Mapping[str, Path], where: str, notes: list[str]
) -> None:
    """Refuse a checkpoint whose tensors are not in the files that its index names.

    Tied names are tensors beside those of the index. A note says so.

    Args:
        tensors: of all shards.
        listed: name -> file, as the index says.
        where: the files, for the messages.
        notes: a sentence on further tensors is appended here.

    Raises:
        WeightsError: a tensor is missing, or is in another file.
    """
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


def _tied_names(text: str, path: Path) -> dict[str, str]:
    try:
        return {str(name): str(kept) for name, kept in json.loads(text).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path} has damaged metadata: {TIED} is no table of names; write the file again."
        ) from error
