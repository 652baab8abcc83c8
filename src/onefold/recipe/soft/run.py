"""Carry out the recipe of a soft merge: check everything, learn gates, score, and write the result
with its recipe and report.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from onefold.alignment import matchers
from onefold.batches import Data, check_reiterable
from onefold.errors import RecipeError, nearest
from onefold.fold import SoftMerge, SoftResult, fit_gates
from onefold.fold.soft.saved import describe
from onefold.fold.soft.sites import sites_of
from onefold.recipe.document import DataPart
from onefold.recipe.environment import check_batches, other_versions, record, settings
from onefold.recipe.inputs import check_device, check_labelled, check_runs, load_data, load_networks
from onefold.recipe.outputs import Outputs, check_outputs, write
from onefold.recipe.soft.document import SoftRecipe
from onefold.recipe.soft.report import SoftScored, score, summarise
from onefold.report import Report
from onefold.sources import check_source, resolve_model


@dataclass(frozen=True)
class SoftMade:
    """What came of a recipe: gates and network, the recipe as it was written, the report, the
    files, and what the user should know.
    """

    recipe: SoftRecipe
    result: SoftResult
    scored: SoftScored | None
    report: Report
    files: Outputs
    warnings: list[str] = field(default_factory=list)


def make(
    recipe: SoftRecipe,
    *,
    force: bool = False,
    threads: int | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> SoftMade:
    """Carry out `recipe`, whose paths are absolute, and write its outputs; arguments and errors as
    those of a merge (run.py).
    """
    files = check_outputs(recipe, force)
    _check_names(recipe)
    with settings(recipe, threads) as used:
        sites_of(
            resolve_model(recipe.model)(),
            recipe.soft.level,
            recipe.soft.include,
            recipe.soft.exclude,
        )  # do the patterns match?
        tell(f"Reading {len(recipe.members)} members")
        models, sums, warnings = load_networks(
            recipe.model, recipe.members, recipe.device, check_finite=False
        )
        data = _labelled(recipe.data, recipe.seed)
        held_out = _labelled(recipe.held_out, recipe.seed) if recipe.held_out else None
        check_runs(models[0], data)
        evaluation = load_data(recipe.evaluation, recipe.seed) if recipe.evaluation else None
        if evaluation is not None and recipe.evaluation is not None:
            check_labelled(evaluation, recipe.evaluation)
        digest = check_batches(recipe, [*data, *(held_out or ())], labels=True)
        if recipe.record is not None:
            warnings += other_versions(recipe.record, used)

        tell(f"Learning gates at {recipe.soft.level} level")
        result = soft_merge(recipe, models, data, held_out)
        scored = None
        if evaluation is not None:
            tell("Scoring the members, their ensemble, their plain average and the result")
            scored = score(models, result, evaluation, recipe.network_output.output)
        members = tuple(
            member.model_copy(update={"sha256": found})
            for member, found in zip(recipe.members, sums, strict=True)
        )
        complete = recipe.model_copy(update={"members": members, "record": record(used, digest)})
        metadata = describe(result.model) | {"onefold.gates": json.dumps(result.gates.to_dict())}
        written = write(
            files,
            complete,
            result.model,
            lambda done: summarise(done, result, scored),
            recipe.record,
            force,
            metadata,
        )
    return SoftMade(
        written.recipe,
        result,
        scored,
        written.report,
        files,
        list(dict.fromkeys([*warnings, *result.notes, *written.warnings])),
    )


def soft_merge(
    recipe: SoftRecipe, models: list[nn.Module], data: Data, held_out: Data | None
) -> SoftResult:
    """The gates that the recipe describes, learned, without reading or writing anything."""
    soft = SoftMerge(
        models, seed=recipe.seed, output=recipe.network_output.output, **recipe.soft.placement()
    )
    return fit_gates(soft, data, held_out=held_out, seed=recipe.seed, **recipe.soft.learning())


def _check_names(recipe: SoftRecipe) -> None:
    """Raises RecipeError where an alignment, a data source, a network or a device does not exist."""
    align = recipe.soft.align
    if align not in matchers and align not in ("auto", "none"):
        raise RecipeError(
            f"There is no alignment '{align}';"
            f" {nearest(align, [*matchers.names(), 'auto', 'none'])}"
        )
    for part in (recipe.data, recipe.held_out, recipe.evaluation):
        if part is not None:
            check_source(part.source)
    resolve_model(recipe.model)
    check_device(recipe.device)


def _labelled(part: DataPart, seed: int) -> Data:
    """Labelled batches that can be walked through again. Raises DataError where they are not."""
    data = check_reiterable(load_data(part, seed), "labelled data")
    check_labelled(data, part, "learn from; gates need labelled examples, so choose other data")
    return data


__all__ = ["SoftMade", "make", "soft_merge"]
