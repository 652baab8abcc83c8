"""The folder of a subspace: may it be written to, what of an earlier run lies in it, and how all results come into it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from onefold import __version__
from onefold.errors import OutputError, RecipeError
from onefold.measure import Report
from onefold.recipe.document import Record, relative, text_of
from onefold.recipe.subspace import SubspaceRecipe
from onefold.recipe.subspace_checkpoint import NAME
from onefold.weights import check_output, checksum, save
from onefold.weights.atomic import explain, fill, staged, sync

RECIPE, REPORT, PAGE, MIDPOINT = "recipe.yaml", "report.json", "report.html", "midpoint.safetensors"


def check_folder(recipe: SubspaceRecipe, force: bool, resume: bool) -> Path:
    """Where to write to. Raises RecipeError or OutputError where nothing may be written there."""
    if recipe.output is None:
        raise RecipeError("The recipe names no output; add the key 'output', or give -o.")
    if force and resume:
        raise RecipeError("--force begins anew and --resume goes on; give one of the two.")
    place = check_output(recipe.output, True, folder=True)
    if (place / NAME).exists() and not (force or resume):
        raise OutputError(f"{recipe.output} holds a run that is not finished; give --resume to go on with it, or --force to begin anew.")
    if not (resume and _ours(place)):
        check_output(recipe.output, force, folder=True)
    if place.exists() and not os.access(place, os.W_OK | os.X_OK):
        raise OutputError(f"{recipe.output} is read-only for this user; choose another place.")
    return place


def _ours(place: Path) -> bool:
    """Whether a folder holds what a run left: something kept, a result, or at most hidden files of a run that was killed early."""
    return any((place / name).exists() for name in (NAME, RECIPE)) or (
        place.is_dir() and all(entry.name.startswith(".") for entry in place.iterdir())
    )


def open_folder(folder: Path) -> None:
    """Make the folder, and remove what writers that were killed left in it."""
    try:
        folder.mkdir(exist_ok=True)
        for name in (NAME, "results"):
            for left in folder.glob(f".{name}.*.tmp"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    except OSError as error:
        raise explain(error, folder) from error


def write(
    folder: Path,
    recipe: SubspaceRecipe,
    now: Record,
    networks: Mapping[str, nn.Module],
    summary: Callable[[SubspaceRecipe, Mapping[str, str]], Report],
) -> tuple[SubspaceRecipe, Report, list[str]]:
    """Write every file under a hidden name, put all into place, then remove what was kept of the run.

    Args:
        now: what the networks were made with; recipe.record is what they should have been made with.
        networks: by the names of their files, the midpoint among them.
        summary: makes the report of the recipe, its paths as seen from the folder, and the files' SHA-256.

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
            facts = {"onefold.version": __version__, "onefold.subspace": recipe.subspace.shape, "onefold.point": Path(name).stem}
            try:
                save(network, hidden / name, metadata=facts)
            except OutputError as error:  # the user knows the file under its final name
                raise OutputError(str(error).replace(str(hidden), str(folder))) from error
            sums[name] = checksum(hidden / name)
        if recorded is not None and recorded != sums[MIDPOINT]:
            warnings.append(f"the midpoint has other bits (SHA-256 {sums[MIDPOINT][:12]}) than the recipe records ({recorded[:12]})")
        recipe = recipe.model_copy(update={"record": now.model_copy(update={"result_sha256": sums[MIDPOINT]})})
        report = summary(relative(recipe, folder), sums)
        fill(hidden / PAGE, report.to_html(), folder / PAGE)
        fill(hidden / REPORT, report.to_json(), folder / REPORT)
        fill(hidden / RECIPE, text_of(recipe, folder / RECIPE), folder / RECIPE)
        try:
            for name in (*networks, PAGE, REPORT, RECIPE):
                os.replace(hidden / name, folder / name)
            for old in folder.glob("vertex-*.safetensors"):  # of an earlier subspace with more of them
                if old.name not in networks:
                    old.unlink()
            sync(folder)
            (folder / NAME).unlink()
            sync(folder)
        except OSError as error:
            raise explain(error, folder) from error
    return recipe, report, warnings
