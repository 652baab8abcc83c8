"""The folder of a run of training: checked first, written whole at the end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from onefold.documents.problems import told
from onefold.documents.record import Record
from onefold.errors import OutputError, RecipeError
from onefold.explore.checkpoint import NAME, difference
from onefold.integrations.pretrained import REPLACED, Card, check_writable, fill_folder
from onefold.recipe.outputs import Outcome, Outputs, Written, write
from onefold.recipe.training.document import TrainedRecipe
from onefold.sources.names import place_in
from onefold.weights import atomic_directory, check_apart, check_output
from onefold.weights.atomic import explain
from onefold.weights.placing import clear_dead, discard, finish_dead

RECIPE, REPORT, PAGE = "recipe.yaml", "report.json", "report.html"
RESULTS = "results"  # of the hidden folder in which all files are finished

R = TypeVar("R", bound=TrainedRecipe)


def check_folder(recipe: TrainedRecipe, force: bool, resume: bool) -> Path:
    """The folder, a link to it followed.

    Raises:
        RecipeError, OutputError: nothing may be written there.
    """
    if recipe.output is None:
        raise RecipeError("The recipe names no output; add the key 'output', or give -o.")
    if force and resume:
        raise RecipeError("--force begins anew and --resume goes on; give one of the two.")
    place = check_output(recipe.output, True, folder=True)
    finish_dead(place / RESULTS)
    clear_dead(place)  # a folder in which nothing was finished does not count as a run
    if (place / NAME).exists() and not (force or resume):
        raise OutputError(
            f"{recipe.output} holds a run that is not finished; give --resume to go on with it, or"
            " --force to begin anew."
        )
    if not (resume and _ours(place)):
        check_output(recipe.output, force, folder=True)
    if place.exists() and not os.access(place, os.W_OK | os.X_OK):
        raise OutputError(f"{recipe.output} is read-only for this user; choose another place.")
    return place


def check_files(
    folder: Path, recipe: TrainedRecipe, replaces: Sequence[str], inputs: Sequence[Path]
) -> None:
    """Refuse a folder in which an input would be replaced.

    Args:
        folder: the folder.
        recipe: what is written into it.
        replaces: patterns of the files that are written or removed.
        inputs: the files that are read.

    Raises:
        OutputError: an input is among them.
    """
    names = (recipe.result, RECIPE, REPORT, PAGE, NAME)
    there = [path for pattern in replaces for path in folder.glob(pattern)]
    if (inner := pretrained_folder(folder, recipe)) is not None:
        there += [inner, *(path for pattern in REPLACED for path in inner.glob(pattern))]
    check_apart([*(folder / name for name in names), *there], inputs)


def check_same(recipe: TrainedRecipe, before: Mapping[str, Any], folder: Path) -> None:
    """Raises RecipeError, which names the first difference, if `recipe` has other settings."""
    found = difference(recipe.settings(), before)
    if found is not None:
        name, now, then = found
        raise RecipeError(
            f"The run in {folder} cannot be resumed with other settings: {told(name)} is {now!r}"
            f" now and was {then!r}; give the same command as before, or --force to begin anew."
        )


def pretrained_folder(folder: Path, recipe: TrainedRecipe) -> Path | None:
    """The folder in a run's folder that `from_pretrained` reads; None: the network has none."""
    if not recipe.model.startswith("hf:"):
        return None
    return folder / Path(recipe.result).stem


def _write_pretrained(folder: Path, recipe: TrainedRecipe, network: nn.Module) -> None:
    """Write the main result as a folder, with the tokenizer of the network's folder."""
    target = pretrained_folder(folder, recipe)
    if target is None:
        return
    check_writable(network)
    (origin,) = place_in(recipe.model)
    told = f"`../{RECIPE}` makes the same again, and `../{REPORT}` holds the whole report."
    with atomic_directory(target, force=True, replaces=REPLACED) as place:
        donor = origin if origin.is_dir() else origin.parent
        fill_folder(place, network, donor, Card(target.name, beside=(told,)))


def _ours(place: Path) -> bool:
    """Whether a folder holds what a run left: a checkpoint, a result, or hidden files at most."""
    return any((place / name).exists() for name in (NAME, RECIPE)) or (
        place.is_dir() and all(entry.name.startswith(".") for entry in place.iterdir())
    )


def open_folder(folder: Path, files: Sequence[str] = ()) -> None:
    """Make the folder, and remove what writers that were killed left in it.

    Args:
        folder: the folder.
        files: patterns of the files that are written while training.
    """
    try:
        folder.mkdir(exist_ok=True)
        for name in (NAME, RESULTS, *files):
            for left in folder.glob(f".{name}.*.tmp"):
                discard(left)
    except OSError as error:
        raise explain(error, folder) from error


def write_folder(
    folder: Path,
    recipe: R,
    outcome: Outcome[R, Any],
    recorded: Record | None,
    replaces: Sequence[str],
) -> Written[R]:
    """Write every file, then remove the checkpoint and what an earlier run has left.

    The main result of a network of transformers is also written as `from_pretrained` reads it.

    Args:
        folder: the folder.
        recipe: with the versions that the networks were made with.
        outcome: the networks, the one of `recipe.result` among them.
        recorded: the versions that the networks should have been made with.
        replaces: patterns of files that an earlier run may have left; they are removed if this one
            has none of the name.

    Raises:
        OutputError: the disk is full or refuses. WeightsError: a network is not finite.
    """
    _write_pretrained(folder, recipe, outcome.networks[recipe.result])
    old = [path for pattern in replaces for path in folder.glob(pattern)]
    gone = [*(path for path in old if path.name not in outcome.networks), folder / NAME]
    files = Outputs(
        folder / recipe.result,
        folder / RECIPE,
        folder / REPORT,
        folder / PAGE,
        beside=folder / RESULTS,
        name=recipe.result,
    )
    return write(files, recipe, outcome, recorded, remove=gone)
