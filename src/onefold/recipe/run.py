"""The protocol by which every recipe is carried out, and the base of all that comes out.

A recipe's task checks everything, computes, scores, and writes the result with its recipe and
report, all of it or nothing. Tasks differ in the steps that `JobTask` and `TrainingTask` leave out.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from torch import nn

from onefold.batches import Data
from onefold.documents.part import Flag
from onefold.documents.record import check_batches, other_versions, record
from onefold.errors import Note, RecipeError, WeightsError
from onefold.fold.merge_report import MergeReport
from onefold.integrations.pretrained import check_writable
from onefold.isolation import seeded
from onefold.lost_processes import workers_named
from onefold.processes import check_device
from onefold.recipe.document import DataPart, Document, Job, Request
from onefold.recipe.inputs import labelled, load_data
from onefold.recipe.named_files import inputs_of
from onefold.recipe.outputs import Outcome, check_outputs, write
from onefold.report import Report
from onefold.sources import check_source, resolve_model
from onefold.sources.pretrained_folders import check_alike, model_of

D = TypeVar("D", bound=Document)
J = TypeVar("J", bound=Job)
S = TypeVar("S")
T = TypeVar("T")


class Tell(Protocol):
    """Takes what goes on, line by line."""

    def __call__(self, text: str, *, warning: bool = False) -> None:
        """Take one line. warning: it is in doubt whether all is as it was meant."""


def silent(text: str, *, warning: bool = False) -> None:
    """Tells nobody."""


def tell_all(tell: Tell, texts: Iterable[str]) -> None:
    """Tell of warnings before what they concern, and of notes among them as such."""
    for text in texts:
        tell(text, warning=not isinstance(text, Note))


@dataclass(frozen=True)
class Running:
    """How a recipe is carried out. It changes no bit of the result, but for the threads.

    Attributes:
        force: Replace outputs that exist; inputs never are.
        trust: Run the Python files that a recipe file names; those of options are run anyway.
        threads: CPU threads of all processes together; None: as recorded, or as many as torch
            likes. Sums on other numbers of threads round otherwise.
        recipe_file: the recipe's own file, which no output may replace.
    """

    force: bool = False
    trust: bool = False
    threads: int | None = field(default=None, metadata={"flag": Flag(hidden=True)})
    recipe_file: Path | None = field(default=None, metadata={"flag": Flag(hidden=True)})


@dataclass(frozen=True)
class Made(Generic[D, T, S]):
    """The outcome of a recipe.

    Attributes:
        recipe: as it was written.
        result: what was computed.
        scored: the scores; None: not scored.
        report: the report.
        files: the files that were written, the main result last.
        warnings: what the user should know.
        finished_before: an earlier run had come to its end, and nothing was done.
    """

    recipe: D
    result: T
    scored: S | None
    report: Report
    files: tuple[Path, ...]
    warnings: list[str] = field(default_factory=list)
    finished_before: bool = False


class Result(Protocol):
    """What a job computes."""

    @property
    def model(self) -> nn.Module:
        """The network to write."""

    @property
    def notes(self) -> Sequence[str]:
        """What the user should know of it."""


R = TypeVar("R", bound=Result)


class JobTask(ABC, Generic[J, R, S]):
    """A recipe that makes one network of several, carried out.

    Args:
        recipe: its paths are absolute; where it has a record, its checksums must hold.
        running: see there.
        tell: is called with one line on what goes on.
    """

    compared = "the fold"  # the result, in the line that tells of scoring

    def __init__(self, recipe: J, running: Running, tell: Tell = silent) -> None:
        self.recipe, self.running, self.tell = recipe, running, tell
        self.evaluation: Data | None = None
        self._data: dict[int, Data] = {}

    @workers_named()
    def make(self) -> Made[J, R, S]:
        """Carry out the recipe, and write its outputs; the result file is put into place last.

        Raises:
            OnefoldError: of every kind, one sentence each; nothing has been written then.
        """
        read = inputs_of(self.recipe, self.running.recipe_file)
        files = check_outputs(self.recipe, self.running.force, read, self.kept())
        placed = {"output": str(files.result), "html": files.html and str(files.html)}
        self.recipe = self.recipe.model_copy(update=placed)
        check_sources(self.recipe)
        check_device(self.recipe.device)
        self.check()
        if files.folder and (reason := self.several()):
            raise RecipeError(
                f"{reason}, and a folder of transformers holds one; let the name of the output end"
                " in .safetensors."
            )
        before = self.recipe.record
        wanted = self.running.threads or (before.threads if before else None)
        with seeded(self.recipe.seed, wanted) as threads:
            self._read_data()
            count = len(self.recipe.members)
            self.tell(f"Reading {count} member{'s' * (count > 1)}")
            sums = [member.verify() for member in self.recipe.members]
            models, warnings = self.members()
            if files.folder:
                check_writable(models[0])
            tell_all(self.tell, warnings)
            data, recorded = self.batches(models)
            evaluation = self.evaluation
            source = self.recipe.data.source if self.recipe.data else ""
            digest = check_batches(recorded, source, before, labels=self.reads_labels())
            if before is not None:
                other = other_versions(before, threads)
                tell_all(self.tell, other)
                warnings += other
            result = self.compute(models, data, threads)
            scored = None
            if evaluation is not None:
                self.tell(f"Scoring the members, their ensemble, their average and {self.compared}")
                scored = self.score(models, result, evaluation, data)
            complete = self._with_checksums(sums).model_copy(
                update={"record": record(threads, digest)}
            )
            merged = getattr(result, "report", None)
            rows = getattr(scored, "candidates", ())
            header = {"onefold.members": ",".join(sums), **self.metadata(result)}
            outcome: Outcome[J, S] = Outcome(
                {files.result.name: result.model},
                lambda _: header,
                scored,
                lambda done, _: self.summarize(done, result, scored),
                merged if isinstance(merged, MergeReport) else None,
                {row.name: row.scores for row in rows},
            )
            force = self.running.force
            written = write(files, complete, outcome, before, force=force)
        told = list(dict.fromkeys([*warnings, *result.notes, *written.warnings]))
        return Made(written.recipe, result, scored, written.report, tuple(files.all()), told)

    def _read_data(self) -> None:
        """Call for the data before the members are read: a function of the user's may be wrong."""
        if self.recipe.data is not None:
            self.tell(f"Reading {self.recipe.data.source}")
            self.data_of(self.recipe.data)
        self.evaluation = labelled(self.recipe.evaluation, self.recipe.seed, "evaluation data")

    def data_of(self, part: DataPart) -> Data:
        """The batches of a part of the recipe, called for once."""
        if id(part) not in self._data:
            self._data[id(part)] = load_data(part, self.recipe.seed)
        return self._data[id(part)]

    @abstractmethod
    def members(self) -> tuple[Sequence[nn.Module], list[str]]:
        """The members, and notes on how they were read."""

    @abstractmethod
    def batches(self, models: Sequence[nn.Module]) -> tuple[Data | None, Data | None]:
        """The data that is computed on, and all of it whose fingerprint is recorded."""

    @abstractmethod
    def compute(self, models: Sequence[nn.Module], data: Data | None, threads: int) -> R:
        """The result."""

    @abstractmethod
    def score(
        self, models: Sequence[nn.Module], result: R, evaluation: Data, data: Data | None
    ) -> S:
        """The scores on `evaluation`; `data`: that it was computed on."""

    @abstractmethod
    def summarize(self, recipe: J, result: R, scored: S | None) -> Report:
        """The report; `recipe`: as it is written."""

    def check(self) -> None:
        """Checks before anything is read, beyond those of every job."""

    def several(self) -> str:
        """Why the result may be several networks, as a sentence begins; "" if it is one."""
        return ""

    def kept(self) -> Path | None:
        """The folder that is kept to resume from, if there is one."""
        return None

    def metadata(self, result: R) -> Mapping[str, str]:
        """Facts for the header of the result file."""
        return {}

    def reads_labels(self) -> bool:
        """Whether labels are part of the recorded fingerprint."""
        return True

    def _with_checksums(self, sums: Sequence[str]) -> J:
        members = [
            member.model_copy(update={"sha256": found})
            for member, found in zip(self.recipe.members, sums, strict=True)
        ]
        return with_checksums(self.recipe).model_copy(update={"members": tuple(members)})


def check_sources(recipe: Request) -> None:
    """Raises an error where the network, the files or the data that are named do not exist.

    Raises:
        SettingError: a name is unknown. MembersError: members that are folders are of different
            architectures. DataError: a folder of data does not exist. WeightsError: a
            member does not exist.
    """
    resolve_model(recipe.model)
    paths = [member.path for member in getattr(recipe, "members", ())]
    if recipe.model == model_of(paths):
        check_alike(paths)
    for member in getattr(recipe, "members", ()):
        try:
            os.stat(member.path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise WeightsError(
                f"{member.path} cannot be read ({reason}); check the path."
            ) from error
    for name in type(recipe).model_fields:
        part = getattr(recipe, name)
        if isinstance(part, DataPart):
            check_source(part.source)


def with_checksums(recipe: D) -> D:
    """The recipe with the checksums of the files under `use`."""
    used = [file.model_copy(update={"sha256": file.verify()}) for file in recipe.use]
    return recipe.model_copy(update={"use": tuple(used)})
