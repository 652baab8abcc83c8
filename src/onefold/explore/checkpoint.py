"""The checkpoint of a training, DIR/training.pt, there as long as the training is not finished.

It is one file, and is replaced in one step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from onefold.errors import WeightsError
from onefold.weights.atomic import atomic_write
from onefold.weights.file_writers import write_torch
from onefold.weights.torch_file import read_whole

NAME = "training.pt"
FORMAT = "onefold {} training 1"

State: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A training that is not finished.

    Attributes:
        settings: all that decides its result, as plain data.
        record: the versions that it was begun with, as plain data.
        state: of the training: tensors and plain data.
    """

    settings: Mapping[str, Any]
    record: Mapping[str, Any]
    state: State


def keep(folder: Path, kind: str, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of a training of this kind, such as "subspace".

    Raises OutputError if the disk refuses; the checkpoint before is untouched then.
    """
    content = {
        "format": FORMAT.format(kind),
        "settings": json.dumps(checkpoint.settings),
        "record": json.dumps(checkpoint.record),
        "state": checkpoint.state,
    }
    atomic_write(folder / NAME, lambda temporary: write_torch(content, temporary), force=True)


def kept(folder: Path, kind: str) -> Checkpoint | None:
    """The checkpoint of an unfinished training of this kind; None if there is none.

    Raises WeightsError if the file is no such checkpoint.
    """
    path = folder / NAME
    if not path.exists():
        return None
    content = read_whole(path)
    if not isinstance(content, Mapping) or content.get("format") != FORMAT.format(kind):
        raise WeightsError(
            f"{path} is not what a run of `onefold {kind}` left; remove it, or choose another"
            " folder."
        )
    settings, record = json.loads(content["settings"]), json.loads(content["record"])
    return Checkpoint(settings, record, content["state"])


def difference(
    now: Mapping[str, Any], then: Mapping[str, Any], prefix: str = ""
) -> tuple[str, Any, Any] | None:
    """The first setting that is not the same: its name, such as "data.skip", now and then."""
    for key in dict.fromkeys([*now, *then]):
        own, other = now.get(key), then.get(key)
        if isinstance(own, Mapping) and isinstance(other, Mapping):
            if (found := difference(own, other, f"{prefix}{key}.")) is not None:
                return found
        elif own != other:
            return f"{prefix}{key}", own, other
    return None
