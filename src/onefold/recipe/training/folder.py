"""The folder of a run of training: checked first, written whole at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import nn

from onefold._version import __version__
from onefold.documents.problems import told
from onefold.errors import OutputError, RecipeError
from onefold.explore.checkpoint import NAME, difference
from onefold.recipe.document import Record
from onefold.recipe.outputs import other_bits, save_as
from onefold.recipe.reading import relative, text_of
from onefold.recipe.training.document import TrainedRecipe
from onefold.report import Report
from onefold.weights import check_output, checksum
from onefold.weights.atomic import explain, fill, staged
from onefold.weights.placing import discard, finish_dead, place_together

RECIPE, REPORT, PAGE = "recipe.yaml", "report.json", "report.html"

R = TypeVar("R", bound=TrainedRecipe)
S = TypeVar("S")


@dataclass(frozen=True)
class Outcome(Generic[R, S]):
    """The networks of a run that is over, and the functions that describe them.

    Attributes:
        networks: by the names of their files.
        facts: the header of a network's file, from the file's name.
        scored: the scores; None: not scored.
        summarize: makes the report from the recipe as written and the checksums of the files.
    """

    networks: Mapping[str, nn.Module]
    facts: Callable[[str], Mapping[str, str]]
    scored: S | None
    summarize: Callable[[R, Mapping[str, str]], Report]


def check_folder(recipe: TrainedRecipe, force: bool, resume: bool) -> Path:
    """The folder. Raises RecipeError or OutputError if nothing may be written there."""
    if recipe.output is None:
        raise RecipeError("The recipe names no output; add the key 'output', or give -o.")
    if force and resume:
        raise RecipeError("--force begins anew and --resume goes on; give one of the two.")
    place = check_output(recipe.output, True, folder=True)
    finish_dead(place / "results")
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


def check_same(recipe: TrainedRecipe, before: Mapping[str, Any], folder: Path) -> None:
    """Raises RecipeError, which names the first difference, if `recipe` has other settings."""
    found = difference(recipe.settings(), before)
    if found is not None:
        name, now, then = found
        raise RecipeError(
            f"The run in {folder} cannot be resumed with other settings: {told(name)} is {now!r}"
            f" now and was {then!r}; give the same command as before, or --force to begin anew."
        )


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
        for name in (NAME, "results", *files):
            for left in folder.glob(f".{name}.*.tmp"):
                discard(left)
    except OSError as error:
        raise explain(error, folder) from error


def write(
    folder: Path, recipe: R, now: Record, outcome: Outcome[R, Any], replaces: Sequence[str]
) -> tuple[R, Report, list[str]]:
    """Write every file under a hidden name, put all into place, then remove the checkpoint.

    Args:
        folder: the folder.
        recipe: as it was asked for.
        now: the versions that the networks were made with; recipe.record: those that they should
            have been made with.
        outcome: the networks, the one of `recipe.result` among them.
        replaces: patterns of files that an earlier run may have left; they are removed if this one
            has none of the name.

    Returns:
        The recipe as written, the report, and what the user should know.

    Raises:
        OutputError: the disk is full or refuses. WeightsError: a network is not finite.
    """
    recorded, networks = recipe.record, outcome.networks
    with staged(folder / "results") as hidden:
        hidden.mkdir()
        sums = {}
        for name, network in networks.items():
            facts = {"onefold.version": __version__, **outcome.facts(name)}
            save_as(network, hidden / name, folder / name, facts)
            sums[name] = checksum(hidden / name)
        main = sums[recipe.result]
        warnings = other_bits(recipe.result, main, recorded)
        record = now.model_copy(update={"result_sha256": main})
        recipe = recipe.model_copy(update={"record": record})
        report = outcome.summarize(relative(recipe, folder), sums)
        fill(hidden / PAGE, report.to_html(), folder / PAGE)
        fill(hidden / REPORT, report.to_json(), folder / REPORT)
        fill(hidden / RECIPE, text_of(recipe, folder / RECIPE), folder / RECIPE)
        try:
            _into_place(hidden, folder, list(networks), replaces)
        except OSError as error:
            raise explain(error, folder) from error
    return recipe, report, warnings


def _into_place(
    hidden: Path, folder: Path, networks: Sequence[str], replaces: Sequence[str]
) -> None:
    ready = {folder / name: hidden / name for name in (*networks, PAGE, REPORT, RECIPE)}
    old = [path for pattern in replaces for path in folder.glob(pattern)]
    place_together(
        hidden, ready, [*(path for path in old if path.name not in networks), folder / NAME]
    )
