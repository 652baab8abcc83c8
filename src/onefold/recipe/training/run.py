"""How carrying out any recipe of training begins and ends: the folder, a run that was broken off,
versions and data as they were.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from onefold.batches import Data
from onefold.errors import OutputError, RecipeError
from onefold.processes import fabric_package
from onefold.recipe.document import DataPart, Record
from onefold.recipe.environment import check_batches, other_versions, record
from onefold.recipe.reading import read_as
from onefold.recipe.training.checkpoint import NAME, check_same, kept
from onefold.recipe.training.document import TrainedRecipe
from onefold.recipe.training.folder import RECIPE, REPORT, check_folder
from onefold.recipe.training.inputs import check_names, on_a_device
from onefold.report import Report
from onefold.weights.atomic import explain

R = TypeVar("R", bound=TrainedRecipe)
S = TypeVar("S")


@dataclass(frozen=True)
class Trained(Generic[R, S]):
    """What came of a recipe: the recipe as it was written, the report, the folder, its scores
    (None: not scored), what the user should know.
    """

    recipe: R
    report: Report
    folder: Path
    scored: S | None = None
    warnings: list[str] = field(default_factory=list)
    finished_before: bool = False


@dataclass(frozen=True)
class Begun(Generic[R]):
    """A run that is sure of its folder. before: settings, record and state of one that was broken
    off there. report: of one that came to its end.
    """

    recipe: R
    folder: Path
    before: tuple[dict[str, Any], Record, dict[str, Any]] | None = None
    report: Report | None = None

    @property
    def recorded(self) -> Record | None:
        """What the run was made with so far, or should be made with."""
        return self.before[1] if self.before is not None else self.recipe.record

    @property
    def state(self) -> dict[str, Any]:
        """What was reached before; empty where nothing was."""
        return self.before[2] if self.before is not None else {}

    def threads(self, wanted: int | None) -> int | None:
        """The CPU threads to use: as wanted, else as recorded."""
        return wanted or (self.recorded.threads if self.recorded else None)

    def made_with(self, threads: int, data: Data, what: str) -> tuple[Record, list[str]]:
        """What the run is made with, and a warning where it was another version before. data: all
        that decides the result; what: its name.

        Raises:
            RecipeError: the data is not what it was when the run began, or what the recipe records.
        """
        now = record(threads, check_batches(self.recipe, data, labels=True))
        if self.before is not None and now.data_sha256 != self.before[1].data_sha256:
            raise RecipeError(
                f"{what} has changed since the run in {self.folder} began; get the old data, or"
                " give --force."
            )
        return now, other_versions(self.recorded, threads) if self.recorded is not None else []

    def reached(self) -> dict[str, Any]:
        """The state that the training has kept last. Raises OutputError where it is gone."""
        found = kept(self.folder, self.recipe.command)
        if found is None:
            raise OutputError(
                f"{self.folder / NAME} is gone, though the training has just written it; leave the"
                " folder alone, and run again."
            )
        return found[2]


def begin(recipe: R, force: bool, resume: bool, *parts: DataPart | None) -> Begun[R]:
    """Check all that can be checked before anything is read. parts: data beside the training and
    evaluation data.

    Raises:
        OnefoldError: the device, the folder, a name, or the run to resume is not as it should be.
    """
    fabric_package()
    recipe = on_a_device(recipe)
    folder = check_folder(recipe, force, resume)
    check_names(recipe, *parts)
    before = kept(folder, recipe.command) if resume else None
    if before is not None:
        check_same(recipe, before[0], folder)
    elif resume and (folder / RECIPE).exists():
        return _finished(recipe, folder)
    return Begun(recipe, folder, before)


def _finished(recipe: R, folder: Path) -> Begun[R]:
    """What a run that came to its end left: its recipe and report.

    Raises RecipeError where it had other settings.
    """
    before = read_as(type(recipe), folder / RECIPE)
    check_same(recipe, before.settings(), folder)
    try:
        return Begun(
            before, folder, report=Report.from_json((folder / REPORT).read_text(encoding="utf-8"))
        )
    except OSError as error:
        raise explain(error, folder / REPORT) from error
