"""The checkpoint of a run, DIR/training.pt, which is there as long as the run is not finished.

It is one file, and is replaced in one step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onefold.documents.problems import told
from onefold.errors import RecipeError, WeightsError
from onefold.recipe.document import Record
from onefold.recipe.training.document import TrainedRecipe
from onefold.weights.atomic import atomic_write
from onefold.weights.file_writers import write_torch
from onefold.weights.torch_file import read_whole

NAME = "training.pt"
FORMAT = "onefold {} training 1"

State = dict[str, Any]
Kept = tuple[dict[str, Any], Record, State]


def keep(folder: Path, recipe: TrainedRecipe, record: Record, state: Mapping[str, Any]) -> None:
    """Write `state` with the settings and versions that it belongs to.

    Raises OutputError if the disk refuses; the checkpoint before is untouched then.
    """
    texts = {
        "format": FORMAT.format(recipe.command),
        "settings": json.dumps(recipe.settings()),
        "record": record.model_dump_json(),
    }
    atomic_write(
        folder / NAME,
        lambda temporary: write_torch({**texts, "state": dict(state)}, temporary),
        force=True,
    )


def kept(folder: Path, command: str) -> Kept | None:
    """Settings, record and state of an unfinished run of a command; None if there is none.

    Raises WeightsError if the file is no such checkpoint.
    """
    path = folder / NAME
    if not path.exists():
        return None
    content = read_whole(path)
    if not isinstance(content, Mapping) or content.get("format") != FORMAT.format(command):
        raise WeightsError(
            f"{path} is not what a run of `onefold {command}` left; remove it, or choose another"
            " folder."
        )
    return (
        json.loads(content["settings"]),
        Record.model_validate_json(content["record"]),
        content["state"],
    )


def check_same(recipe: TrainedRecipe, before: Mapping[str, Any], folder: Path) -> None:
    """Raises RecipeError, which names the first difference, if `recipe` has other settings."""
    found = _difference(recipe.settings(), before)
    if found is not None:
        name, now, then = found
        raise RecipeError(
            f"The run in {folder} cannot be resumed with other settings: {told(name)} is {now!r}"
            f" now and was {then!r}; give the same command as before, or --force to begin anew."
        )


def _difference(
    now: Mapping[str, Any], then: Mapping[str, Any], prefix: str = ""
) -> tuple[str, Any, Any] | None:
    for key in dict.fromkeys([*now, *then]):
        own, other = now.get(key), then.get(key)
        if isinstance(own, Mapping) and isinstance(other, Mapping):
            if (found := _difference(own, other, f"{prefix}{key}.")) is not None:
                return found
        elif own != other:
            return f"{prefix}{key}", own, other
    return None
