"""Carry out any recipe of training: check, train, checkpoint, score and write.

The networks are made from the checkpoint after the last epoch, in a run that was never broken off
as in one that was, so that both end in the same bits. The checkpoint is removed last: as long as it
is there, the run is not finished.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from onefold.batches import Data
from onefold.documents.record import Record, check_batches, other_versions, record
from onefold.errors import OutputError, RecipeError
from onefold.explore.checkpoint import NAME, Checkpoint, State, keep, kept
from onefold.explore.training import steps_of
from onefold.isolation import seeded
from onefold.lost_processes import workers_named
from onefold.processes import check_device, fabric_package, launch
from onefold.recipe.inputs import labelled
from onefold.recipe.named_files import inputs_of
from onefold.recipe.outputs import Outcome
from onefold.recipe.reading import load_file, read_as
from onefold.recipe.run import Made, Running, Tell, check_sources, silent, tell_all, with_checksums
from onefold.recipe.training.document import TrainedRecipe
from onefold.recipe.training.folder import (
    PAGE,
    RECIPE,
    REPORT,
    check_files,
    check_folder,
    check_same,
    open_folder,
    pretrained_folder,
    write_folder,
)
from onefold.recipe.training.inputs import on_a_device, training_data
from onefold.report import Report
from onefold.tasks import Scoring, tasks
from onefold.tasks.reading import Reading
from onefold.weights.atomic import explain

R = TypeVar("R", bound=TrainedRecipe)
S = TypeVar("S")


@dataclass(frozen=True)
class TrainRunning(Running):
    """How a run of training is carried out.

    Attributes:
        force: Begin anew in a folder that holds something; inputs are never replaced.
        resume: Go on with a run that was broken off in the folder, from its last epoch.
    """

    resume: bool = False


@dataclass(frozen=True)
class Job(Generic[R]):
    """All that a process of the training is given.

    Attributes:
        recipe: what is trained.
        folder: of the checkpoints.
        now: the versions that the run is made with.
        steps: of an epoch.
        resumed: there is a checkpoint to go on from.
        threads: CPU threads of this process.
        task: the name of the task, as the data have told it.
        at_hand: data and networks of the process that began; None: read them again.
    """

    recipe: R
    folder: Path
    now: Record
    steps: int
    resumed: bool
    threads: int
    task: str
    at_hand: Any = None

    def scoring(self) -> Scoring:
        """The task and the scores, in a process that may not have run the user's files yet."""
        for file in self.recipe.use:
            load_file(file)
        return self.recipe.scoring.scoring().at(tasks.get(self.task)())

    def before(self) -> State | None:
        """The state of the last checkpoint, if the run goes on from one."""
        found = kept(self.folder, self.recipe.command) if self.resumed else None
        return found.state if found else None

    def keep(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint."""
        record = self.now.model_dump(mode="json")
        recipe = self.recipe
        keep(self.folder, recipe.command, Checkpoint(recipe.settings(), record, dict(state)))


class TrainingTask(ABC, Generic[R, S]):
    """A recipe of training, carried out.

    Args:
        recipe: its paths are absolute; where it has a record, its checksums must hold.
        running: see there.
        tell: is called with one line on what goes on.
    """

    patterns: Sequence[str] = ()  # files that an earlier run may have left
    reading: Reading  # of the task, which `prepare` tells

    def __init__(self, recipe: R, running: TrainRunning, tell: Tell = silent) -> None:
        self.recipe, self.running, self.tell = recipe, running, tell

    @workers_named()
    def make(self) -> Made[R, Any, S]:
        """Carry out the recipe, and write its outputs into the folder `recipe.output`.

        Raises:
            OnefoldError: of every kind, one sentence each; the checkpoint of the run stays.
        """
        self.check()
        fabric_package()
        self.recipe = on_a_device(self.recipe)
        folder = check_folder(self.recipe, self.running.force, self.running.resume)
        check_sources(self.recipe)
        before = kept(folder, self.recipe.command) if self.running.resume else None
        if before is not None:
            check_same(self.recipe, before.settings, folder)
        elif self.running.resume and (folder / RECIPE).exists():
            return _finished(self.recipe, folder)
        read = inputs_of(self.recipe, self.running.recipe_file)
        check_files(folder, self.recipe, self.patterns, read)
        recorded = Record.model_validate(before.record) if before else self.recipe.record
        wanted = self.running.threads or (recorded.threads if recorded else None)
        with seeded(self.recipe.seed, wanted) as threads:
            return self._carried_out(folder, before, recorded, threads)

    def _carried_out(
        self, folder: Path, before: Checkpoint | None, recorded: Record | None, threads: int
    ) -> Made[R, Any, S]:
        recipe, part, device = self.recipe, self.recipe.training, check_device(self.recipe.device)
        self.tell(f"Reading {recipe.data.source}")
        data, evaluation = (
            training_data(recipe),
            labelled(recipe.evaluation, recipe.seed, "evaluation data"),
        )
        data, fingerprinted, what = self.prepare(data, evaluation)
        steps = steps_of(data, part.devices, recipe.data.source)
        now = record(
            threads, check_batches(fingerprinted, recipe.data.source, recipe.record, labels=True)
        )
        if before is not None and now.data_sha256 != before.record["data_sha256"]:
            raise RecipeError(
                f"{what} has changed since the run in {folder} began; get the old data, or give"
                " --force."
            )
        warnings = other_versions(recorded, threads) if recorded else []
        tell_all(self.tell, warnings)
        open_folder(folder, self.patterns)
        if line := self.begin(before.state if before else {}):
            self.tell(line)
            at_hand = self.at_hand(data) if part.devices == 1 else None
            share = max(1, threads // part.devices)
            task = self.reading.told.name
            job = Job(recipe, folder, now, steps, before is not None, share, task, at_hand)
            # Fabric would set the fields of a dataclass, so they are passed one by one
            arguments = (self.train, *vars(job).values())
            again = "the same command with --resume goes on from the last whole epoch"
            launch(_process, arguments, device, part.devices, part.precision, again=again)
        outcome = self.finish(_reached(recipe, folder), data, evaluation)
        complete = with_checksums(recipe).model_copy(update={"record": now})
        done = write_folder(folder, complete, outcome, recipe.record, self.patterns)
        files = tuple(folder / name for name in (*outcome.networks, RECIPE, PAGE))
        if (inner := pretrained_folder(folder, recipe)) is not None:
            self.tell(f"{inner} is the result as from_pretrained reads it")
            files = (inner, *files)
        told = warnings + done.warnings
        return Made(done.recipe, None, outcome.scored, done.report, files, told)

    def check(self) -> None:
        """Checks before anything is read, beyond those of every run."""

    @abstractmethod
    def prepare(self, data: Data, evaluation: Data | None) -> tuple[Data, Data, str]:
        """Check that network and data fit.

        Returns:
            What is trained on; all data that decides the result; its name in a message.
        """

    @abstractmethod
    def begin(self, state: State) -> str:
        """The line that tells of the training that is left to do; "" if nothing is."""

    @abstractmethod
    def at_hand(self, data: Data) -> Any:
        """What `train` needs not read again in the process that began."""

    @staticmethod
    @abstractmethod
    def train(fabric: Any, job: Job[Any]) -> None:
        """The work of every process."""

    @abstractmethod
    def finish(self, state: State, data: Data, evaluation: Data | None) -> Outcome[R, S]:
        """The networks that the last checkpoint holds, and their scores."""


def _process(fabric: Any, train: Callable[[Any, Job[Any]], None], *fields: Any) -> None:
    train(fabric, Job(*fields))


def _reached(recipe: TrainedRecipe, folder: Path) -> State:
    """The state of the last checkpoint. Raises OutputError if it is gone."""
    found = kept(folder, recipe.command)
    if found is None:
        raise OutputError(
            f"{folder / NAME} is gone, though the training has just written it; leave the folder"
            " alone, and run again."
        )
    return found.state


def _finished(recipe: R, folder: Path) -> Made[R, Any, Any]:
    """The recipe and report of a run that came to its end.

    Raises RecipeError if it had other settings.
    """
    before = read_as(type(recipe), folder / RECIPE, known=recipe)
    check_same(recipe, before.settings(), folder)
    try:
        report = Report.from_json((folder / REPORT).read_text(encoding="utf-8"))
    except OSError as error:
        raise explain(error, folder / REPORT) from error
    return Made(before, None, None, report, (folder / RECIPE,), finished_before=True)
