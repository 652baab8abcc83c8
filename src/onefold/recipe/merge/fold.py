"""The call of `onefold.merge` that a recipe describes.

Nothing is read or written but a saved alignment and the folder `resume`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from onefold.alignment import Alignment, align
from onefold.alignment.matchers import Matcher
from onefold.batches import Data
from onefold.ensemble import ClassPool, class_pool
from onefold.ensemble.names import EnsembleName
from onefold.errors import NothingToAlignError
from onefold.fold import LeastSquares, MergeResult, fold_to_budgets, merge, partial_merge
from onefold.fold.distillation import Polish
from onefold.fold.partial.splitting import share_of
from onefold.fold.plan import AUTO, DEFAULT
from onefold.recipe.merge.document import Recipe, SavedAlignment


def fold_networks(
    recipe: Recipe, models: Sequence[nn.Module], data: Data | None, resume: Path | None = None
) -> MergeResult[nn.Module]:
    """The merge that the recipe describes. resume: the folder of an alignment's checkpoints."""
    meant = recipe.network_output.output
    shared: dict[str, Any] = {
        "align": _alignment(recipe, models, data, resume),
        "fold": recipe.fold,
        "repair": recipe.repair,
        "weights": recipe.weights,
        "reference": recipe.reference,
        "seed": recipe.seed,
        "output": meant,
        **recipe.scoring.arguments(),
    }
    if recipe.until is not None and data is not None:
        return _partial(models, data, recipe.until, shared)
    ensemble, polish = ensemble_of(recipe, models, data), polish_of(recipe)
    return merge(models, data, ensemble=ensemble, polish=polish, **shared)


def fold_to_each(
    recipe: Recipe, models: Sequence[nn.Module], data: Data
) -> dict[str, MergeResult[nn.Module]]:
    """Folds to the budgets that the recipe scores, by their budgets."""
    if not recipe.budgets:
        return {}
    folds = fold_to_budgets(
        list(models),
        data,
        recipe.budgets,
        method=recipe.fold if isinstance(recipe.fold, LeastSquares) else LeastSquares(),
        polish=polish_of(recipe),
        weights=recipe.weights,
        ensemble=ensemble_of(recipe, models, data),
        output=recipe.network_output.output,
        task=recipe.scoring.scoring().task,
        seed=recipe.seed,
    )
    return dict(zip(recipe.budgets, folds, strict=True))


def ensemble_of(
    recipe: Recipe, models: Sequence[nn.Module], data: Data | None
) -> EnsembleName | ClassPool | None:
    """The ensemble that is aimed at, with the shares of the classes that are given."""
    if recipe.ensemble is None or recipe.ensemble.shares is None:
        return recipe.ensemble.name if recipe.ensemble else None
    meant = recipe.network_output.output
    return class_pool(models, data, shares=recipe.ensemble.shares, output=meant)


def polish_of(recipe: Recipe) -> Polish | int:
    """The distillation at the end; 0 for none."""
    return Polish(**recipe.polish.model_dump()) if recipe.polish.passes else 0


def _alignment(
    recipe: Recipe, models: Sequence[nn.Module], data: Data | None, resume: Path | None
) -> Alignment | Matcher | str:
    """The `align` of the call: computed here if only `onefold.align` takes what is asked for.

    Where nothing can be moved, the merge itself says so, or refuses if a matcher was named.
    """
    if isinstance(recipe.align, SavedAlignment):
        return Alignment.load(recipe.align.file.path)
    if not recipe.computes_alignment or not (resume or recipe.max_positions):
        return recipe.align
    try:
        return align(
            models,
            data,
            method=DEFAULT if recipe.align == AUTO else recipe.align,
            reference=recipe.reference,
            max_positions=recipe.max_positions,
            seed=recipe.seed,
            resume=resume,
        )
    except NothingToAlignError:
        return recipe.align


def _partial(
    models: Sequence[nn.Module], data: Data, until: str, settings: Mapping[str, Any]
) -> MergeResult[nn.Module]:
    """The merge up to a module or share of the layers, told in the report of its fold."""
    where = share_of(until) or until
    asked, notes = settings["align"], []
    given = {**settings, "align": DEFAULT if asked == AUTO else asked}
    try:
        done = partial_merge(models, data, until=where, **given)
    except NothingToAlignError as error:
        if asked != AUTO:
            raise
        done = partial_merge(models, data, until=where, **{**given, "align": "none"})
        notes = [f"nothing was aligned, and the networks are averaged as they are: {error}"]
    done.report.merged.warnings[:0] = notes
    return done.merged()
