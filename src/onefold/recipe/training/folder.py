"""The folder of a run of training: may it be written to, what of an earlier run lies in it, and how
all results come into it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from torch import nn

from onefold._version import __version__
from onefold.errors import OutputError, RecipeError
from onefold.recipe.document import Record
from onefold.recipe.reading import relative, text_of
from onefold.recipe.training.checkpoint import NAME
from onefold.recipe.training.document import TrainedRecipe
from onefold.report import Report
from onefold.weights import check_output, checksum, save
from onefold.weights.atomic import explain, fill, staged, sync

RECIPE, REPORT, PAGE = "recipe.yaml", "report.json", "report.html"

R = TypeVar("R", bound=TrainedRecipe)


def check_folder(recipe: TrainedRecipe, force: bool, resume: bool) -> Path:
    """Where to write to. Raises RecipeError or OutputError where nothing may be written there."""
    if recipe.output is None:
        raise RecipeError("The recipe names no output; add the key 'output', or give -o.")
    if force and resume:
        raise RecipeError("--force begins anew and --resume goes on; give one of the two.")
    place = check_output(recipe.output, True, folder=True)
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


def _ours(place: Path) -> bool:
    """Whether a folder holds what a run left: something kept, a result, or at most hidden files of
    a run that was killed early.
    """
    return any((place / name).exists() for name in (NAME, RECIPE)) or (
        place.is_dir() and all(entry.name.startswith(".") for entry in place.iterdir())
    )


def open_folder(folder: Path, files: Sequence[str] = ()) -> None:
    """Make the folder, and remove what writers that were killed left in it. files: patterns of what
    is written while training.
    """
    try:
        folder.mkdir(exist_ok=True)
        for name in (NAME, "results", *files):
            for left in folder.glob(f".{name}.*.tmp"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    except OSError as error:
        raise explain(error, folder) from error


def write(
    folder: Path,
    recipe: R,
    now: Record,
    networks: Mapping[str, nn.Module],
    facts: Callable[[str], Mapping[str, str]],
    summary: Callable[[R, Mapping[str, str]], Report],
    replaces: Sequence[str],
) -> tuple[R, Report, list[str]]:
    """Write every file under a hidden name, put all into place, then remove what was kept of the
    run.

    Args:
        now: what the networks were made with; recipe.record is what they should have been made
            with.
        networks: by the names of their files, recipe.main among them.
        facts: what a network's file says beside its weights, from the file's name.
        summary: makes the report of the recipe, its paths as seen from the folder, and the files'
            SHA-256.
        replaces: patterns of files that an earlier run may have left, and that go where this one
            has none of the name.

    Returns:
        The recipe as written, the report, and what the user should know.

    Raises:
        OutputError: the disk is full or refuses. WeightsError: a network is not finite.
    """
    recorded = recipe.record.result_sha256 if recipe.record else None
    warnings = []
    with staged(folder / "results") as hidden:
        hidden.mkdir()
        sums = {}
        for name, network in networks.items():
            try:
                save(
                    network, hidden / name, metadata={"onefold.version": __version__, **facts(name)}
                )
            except OutputError as error:  # the user knows the file under its final name
                raise OutputError(str(error).replace(str(hidden), str(folder))) from error
            sums[name] = checksum(hidden / name)
        main = sums[recipe.main]
        if recorded is not None and recorded != main:
            warnings.append(
                f"{recipe.main} has other bits (SHA-256 {main[:12]}) than the recipe records"
                f" ({recorded[:12]})"
            )
        recipe = recipe.model_copy(
            update={"record": now.model_copy(update={"result_sha256": main})}
        )
        report = summary(relative(recipe, folder), sums)
        fill(hidden / PAGE, report.to_html(), folder / PAGE)
        fill(hidden / REPORT, report.to_json(), folder / REPORT)
        fill(hidden / RECIPE, text_of(recipe, folder / RECIPE), folder / RECIPE)
        try:
            for name in (*networks, PAGE, REPORT, RECIPE):
                os.replace(hidden / name, folder / name)
            for old in (path for pattern in replaces for path in folder.glob(pattern)):
                if old.name not in networks:
                    old.unlink()
            sync(folder)
            (folder / NAME).unlink()
            sync(folder)
        except OSError as error:
            raise explain(error, folder) from error
    return recipe, report, warnings
