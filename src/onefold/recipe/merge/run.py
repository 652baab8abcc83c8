"""Carry out the recipe of a merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from onefold.batches import Data, check_reiterable
from onefold.errors import RecipeError
from onefold.fold import Auto, MergeResult, PartialMerge
from onefold.fold.auto import most_cost
from onefold.fold.partial.saved import describe
from onefold.fold.saved import load_members
from onefold.inference.running import check_runs
from onefold.processes import check_device, check_processes
from onefold.recipe.merge.document import ALIGN, FOLD, Recipe, SavedAlignment
from onefold.recipe.merge.fold import fold_networks, fold_to_each
from onefold.recipe.merge.processes import fold_in_processes
from onefold.recipe.run import JobTask, Made, Running, Tell, silent
from onefold.report import Report
from onefold.result_reports.merges import MergeScored, report_merge, score_merge


@dataclass(frozen=True)
class MergeRunning(Running):
    """How a merge is carried out.

    Attributes:
        on_disk: Members stay on disk, two in memory at a time; None: large ones do.
        resume: Keep the alignment in this folder, and go on from what is there.
    """

    on_disk: bool | None = None
    resume: Path | None = None


class MergeTask(JobTask[Recipe, MergeResult[nn.Module], MergeScored]):
    """A merge, carried out; see `JobTask`."""

    running: MergeRunning

    def check(self) -> None:
        """Raises RecipeError if the options of the run do not fit the recipe."""
        recipe, running = self.recipe, self.running
        self.on_disk = running.on_disk
        if recipe.until is not None:
            if recipe.devices > 1 or running.on_disk or running.resume is not None:
                raise RecipeError(
                    "A partial merge (until) runs in one process with its members in memory; leave"
                    " out --devices, --on-disk and --resume."
                )
            self.on_disk = False
        if running.resume is not None and not recipe.computes_alignment:
            raise RecipeError(
                "--resume keeps the alignment that a merge computes, and this one computes none;"
                " leave it out, or name a matcher with --align."
            )
        if recipe.devices > 1:
            check_processes(check_device(recipe.device), recipe.devices)
        if isinstance(recipe.align, SavedAlignment):
            recipe.align.file.verify()

    def several(self) -> str:
        """A partial merge keeps a part of every member."""
        return "A partial merge keeps several networks" if self.recipe.until is not None else ""

    def kept(self) -> Path | None:
        """The folder of the alignment's checkpoint, if there is one."""
        return self.running.resume

    def members(self) -> tuple[Sequence[nn.Module], list[str]]:
        """The members, and notes on how they were read."""
        recipe = self.recipe
        part = recipe.reading.selection
        return load_members(
            recipe.model, recipe.paths, recipe.device, on_disk=self.on_disk, selection=part
        )

    def batches(self, models: Sequence[nn.Module]) -> tuple[Data | None, Data | None]:
        """The data to compute with, and the data whose fingerprint is recorded."""
        if self.recipe.data is None:
            return None, None
        data = check_reiterable(self.data_of(self.recipe.data), "calibration data")
        check_runs(models[0], data)
        return data, data

    def reads_labels(self) -> bool:
        """Whether the labels belong to the fingerprint of the data."""
        return bool(getattr(self.recipe.fold, "labelled", False))

    def compute(
        self, models: Sequence[nn.Module], data: Data | None, threads: int
    ) -> MergeResult[nn.Module]:
        """The result of the recipe."""
        recipe, passes = self.recipe, self.recipe.polish.passes
        align = "saved" if isinstance(recipe.align, SavedAlignment) else recipe.align
        cost = most_cost(len(models)) if isinstance(recipe.fold, Auto) else ""
        self.tell(
            f"Folding: align {ALIGN.name_of(align)}, fold {FOLD.name_of(recipe.fold)}, repair"
            f" {recipe.repair}" + f", polish {passes} passes" * bool(passes) + cost
        )
        if recipe.devices == 1:
            return fold_networks(recipe, models, data, self.running.resume)
        return fold_in_processes(recipe, threads, on_disk=self.on_disk, resume=self.running.resume)

    def score(
        self,
        models: Sequence[nn.Module],
        result: MergeResult[nn.Module],
        evaluation: Data,
        data: Data | None,
    ) -> MergeScored:
        """The scores of the result, and of what it is compared with."""
        calibration = data if self.recipe.barrier else None
        output = self.recipe.network_output.output
        scoring = self.recipe.scoring.scoring()
        return score_merge(
            result,
            models,
            evaluation,
            calibration=calibration,
            budgets=self._budgets(models, data),
            output=output,
            scoring=scoring,
        )

    def _budgets(
        self, models: Sequence[nn.Module], data: Data | None
    ) -> dict[str, MergeResult[nn.Module]]:
        """Folds to the budgets that are scored, by their budgets."""
        if not self.recipe.budgets or data is None:
            return {}
        self.tell(f"Folding to {', '.join(self.recipe.budgets)}")
        return fold_to_each(self.recipe, models, data)

    def summarize(
        self, recipe: Recipe, result: MergeResult[nn.Module], scored: MergeScored | None
    ) -> Report:
        """The report of the recipe."""
        return report_merge(result, scored, recipe.origin())

    def metadata(self, result: MergeResult[nn.Module]) -> Mapping[str, str]:
        """Facts for the header of the checkpoint."""
        return describe(result.model) if isinstance(result.model, PartialMerge) else {}

    def _with_checksums(self, sums: Sequence[str]) -> Recipe:
        recipe = super()._with_checksums(sums)
        if not isinstance(recipe.align, SavedAlignment):
            return recipe
        file = recipe.align.file.model_copy(update={"sha256": recipe.align.file.verify()})
        return recipe.model_copy(update={"align": SavedAlignment(file=file)})


def make(
    recipe: Recipe, running: MergeRunning | None = None, tell: Tell = silent
) -> Made[Recipe, MergeResult[nn.Module], MergeScored]:
    """Carry out `recipe`, whose paths are absolute, and write its outputs; see `JobTask`."""
    return MergeTask(recipe, running or MergeRunning(), tell).make()
