"""The files of a checkpoint: one file, all shards of it, or the shards that an index names."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from onefold.errors import WeightsError
from onefold.printable import printable
from onefold.weights.folders import SHARD as SHARD
from onefold.weights.folders import weights_in
from onefold.weights.paths import check_ordinary

PathLike = str | os.PathLike[str]


def files_of(
    path: PathLike | Sequence[PathLike],
) -> tuple[list[Path], dict[str, Path] | None, list[str]]:
    """The files to read for a checkpoint.

    Args:
        path: a file, an index file (*.index.json) of shards, a folder that holds either, or the
            sequence of all shards.

    Returns:
        The files; for an index the file of each tensor, else None; notes, one sentence each.

    Raises:
        WeightsError: a file is missing, unreadable or given twice, the index is damaged, or shards
            are missing.
    """
    given = [path] if isinstance(path, str | os.PathLike) else list(path)
    if not given:
        raise WeightsError("No checkpoint file was given; give at least one.")
    paths = [Path(one).expanduser() for one in given]
    if len(paths) == 1 and paths[0].is_dir():
        found = weights_in(paths[0])
        paths = found if isinstance(found, list) else [found]
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


def format_of(path: Path) -> str:
    """The format of a file: "safetensors" or "torch".

    A safetensors file has an opening brace after 8 bytes. The suffix decides for a damaged one.
    """
    with open(path, "rb") as file:
        start = file.read(9)
    return "safetensors" if start[8:9] == b"{" or path.suffix == ".safetensors" else "torch"


def _check_file(path: Path, why: str = "") -> None:
    named = f"{path}, {why}," if why else str(path)
    if any("\ud800" <= c <= "\udfff" for c in str(path)):
        raise WeightsError(
            f"{printable(named)} cannot be read: its path is no text in UTF-8, which neither"
            " safetensors nor torch can open; rename it."
        )
    try:
        if path.is_dir():
            raise WeightsError(f"{named} is a folder and no shard; give it alone.")
        if not path.exists():
            raise WeightsError(f"{named} does not exist; check the path.")
        check_ordinary(path)
        with open(path, "rb"):
            pass
    except OSError as error:
        raise WeightsError(
            f"{named} cannot be read ({error.strerror or error}); check its permissions."
        ) from error


def _read_index(path: Path) -> dict[str, Path]:
    """The file of each tensor, as an index names them."""
    try:
        weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        pairs = {str(name): str(file) for name, file in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        config = path.name == "config.json"
        way = f"the folder {path.parent}" if config else "the *.index.json file"
        raise WeightsError(
            f"{path} is no index of a sharded checkpoint: it has no table weight_map; give {way}."
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


def with_shards(path: PathLike) -> list[Path]:
    """A file or folder, and the files of weights that an index or a folder names."""
    try:
        return [Path(path), *files_of(path)[0]]
    except WeightsError:
        return [Path(path)]
