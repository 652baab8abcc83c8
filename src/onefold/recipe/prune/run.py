"""Carry out the recipe of pruning."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from onefold.batches import Data, check_reiterable
from onefold.fold import LeastSquares, Polish, PruneResult, prune
from onefold.fold.saved import load_networks
from onefold.inference.running import check_runs
from onefold.recipe.prune.document import Recipe
from onefold.recipe.run import JobTask, Made, Running, Tell, silent
from onefold.report import Report
from onefold.result_reports.prunings import PruneScored, report_pruning, score_pruning


class PruneTask(JobTask[Recipe, PruneResult[nn.Module], PruneScored]):
    """A pruning, carried out; see `JobTask`."""

    compared = "the pruned network"

    def members(self) -> tuple[Sequence[nn.Module], list[str]]:
        """The network, and notes on how it was read."""
        recipe = self.recipe
        return load_networks(
            recipe.model, recipe.paths, recipe.device, selection=recipe.reading.selection
        )

    def batches(self, models: Sequence[nn.Module]) -> tuple[Data | None, Data | None]:
        """The data to compute with, twice: it is recorded, too."""
        assert self.recipe.data is not None
        data = check_reiterable(self.data_of(self.recipe.data), "calibration data")
        check_runs(models[0], data)
        return data, data

    def reads_labels(self) -> bool:
        """Labels are not read."""
        return False

    def compute(
        self, models: Sequence[nn.Module], data: Data | None, threads: int
    ) -> PruneResult[nn.Module]:
        """The pruned network."""
        recipe = self.recipe
        assert data is not None
        asked = f"budget {recipe.budget}" if recipe.width is None else f"width {recipe.width:g}"
        passes = recipe.polish.passes
        self.tell(f"Pruning: {asked}" + f", polish {passes} passes" * bool(passes))
        return prune(
            models[0],
            data,
            width=recipe.width,
            budget=recipe.budget,
            method=LeastSquares(rows=recipe.rows, ridge=recipe.ridge),
            polish=Polish(**recipe.polish.model_dump()) if passes else 0,
            output=recipe.network_output.output,
            task=recipe.scoring.scoring().task,
            seed=recipe.seed,
        )

    def score(
        self,
        models: Sequence[nn.Module],
        result: PruneResult[nn.Module],
        evaluation: Data,
        data: Data | None,
    ) -> PruneScored:
        """The scores of the network before and after."""
        return score_pruning(
            result,
            models[0],
            evaluation,
            output=self.recipe.network_output.output,
            scoring=self.recipe.scoring.scoring(),
        )

    def summarize(
        self, recipe: Recipe, result: PruneResult[nn.Module], scored: PruneScored | None
    ) -> Report:
        """The report of the recipe."""
        return report_pruning(result, scored, recipe.origin())


def make(
    recipe: Recipe, running: Running | None = None, tell: Tell = silent
) -> Made[Recipe, PruneResult[nn.Module], PruneScored]:
    """Carry out `recipe`, whose paths are absolute, and write its outputs; see `JobTask`."""
    return PruneTask(recipe, running or Running(), tell).make()
