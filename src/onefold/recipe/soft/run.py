"""Carry out the recipe of a soft merge."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from torch import nn

from onefold.alignment import feature_matchers
from onefold.batches import Data, check_reiterable
from onefold.errors import RecipeError, nearest
from onefold.fold import SoftMerge, SoftResult, fit_gates
from onefold.fold.saved import load_networks
from onefold.fold.soft.saved import describe
from onefold.fold.soft.sites import sites_of
from onefold.inference.running import check_runs
from onefold.recipe.document import DataPart
from onefold.recipe.inputs import check_labelled
from onefold.recipe.run import JobTask, Made, Running, Tell, silent
from onefold.recipe.soft.document import GATING, LEARNING, SoftRecipe
from onefold.report import Report
from onefold.result_reports.soft_merges import SoftScored, report_soft_merge, score_soft_merge
from onefold.sources import resolve_model


class SoftTask(JobTask[SoftRecipe, SoftResult, SoftScored]):
    """A soft merge, carried out; see `JobTask`."""

    compared = "the result"

    def check(self) -> None:
        """Raises RecipeError if the alignment, the network or a pattern does not exist."""
        soft, also = self.recipe.soft, ("auto", "none")
        if soft.align not in feature_matchers and soft.align not in also:
            near = nearest(soft.align, [*feature_matchers.names(), *also])
            raise RecipeError(f"There is no alignment '{soft.align}'; {near}")
        network = resolve_model(self.recipe.model)()
        sites_of(network, soft.level, soft.include, soft.exclude)

    def several(self) -> str:
        """Gates of layers make one network; those above may leave several."""
        level = self.recipe.soft.level
        return "" if level == "layer" else f"Gates at {level} level may leave several networks"

    def members(self) -> tuple[Sequence[nn.Module], list[str]]:
        """The members, and notes on how they were read."""
        recipe = self.recipe
        part = recipe.reading.selection
        return load_networks(
            recipe.model, recipe.paths, recipe.device, check_finite=False, selection=part
        )

    def batches(self, models: Sequence[nn.Module]) -> tuple[Data, Data]:
        """The data to compute with, and the data whose fingerprint is recorded."""
        data, held_out = self._learned(self.recipe.data), self.recipe.held_out
        self.held_out = self._learned(held_out) if held_out else None
        check_runs(models[0], data)
        return data, [*data, *(self.held_out or ())]

    def compute(self, models: Sequence[nn.Module], data: Data | None, threads: int) -> SoftResult:
        """The result of the recipe."""
        recipe = self.recipe
        self.tell(f"Learning gates at {recipe.soft.level} level")
        assert data is not None
        settings, seed = recipe.soft, recipe.seed
        output = recipe.network_output.output
        soft = SoftMerge(models, seed=seed, output=output, **settings.arguments(GATING))
        how = settings.arguments(LEARNING) | recipe.scoring.arguments()
        return fit_gates(soft, data, held_out=self.held_out, seed=seed, **how)

    def score(
        self, models: Sequence[nn.Module], result: SoftResult, evaluation: Data, data: Data | None
    ) -> SoftScored:
        """The scores of the result, and of what it is compared with."""
        output = self.recipe.network_output.output
        scoring = self.recipe.scoring.scoring()
        return score_soft_merge(result, models, evaluation, output=output, scoring=scoring)

    def summarize(
        self, recipe: SoftRecipe, result: SoftResult, scored: SoftScored | None
    ) -> Report:
        """The report of the recipe."""
        return report_soft_merge(result, scored, recipe.origin())

    def metadata(self, result: SoftResult) -> Mapping[str, str]:
        """Facts for the header of the checkpoint."""
        return describe(result.model) | {"onefold.gates": json.dumps(result.gates.to_dict())}

    def _learned(self, part: DataPart) -> Data:
        """Labelled batches that can be read again. Raises DataError if they are not."""
        data = check_reiterable(self.data_of(part), "labelled data")
        use = "learn from; gates need labelled examples, so choose other data"
        check_labelled(data, part, use)
        return data


def make(
    recipe: SoftRecipe, running: Running | None = None, tell: Tell = silent
) -> Made[SoftRecipe, SoftResult, SoftScored]:
    """Carry out `recipe`, whose paths are absolute, and write its outputs; see `JobTask`."""
    return SoftTask(recipe, running or Running(), tell).make()
