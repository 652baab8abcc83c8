"""The merge that a recipe describes, without reading or writing anything but a saved alignment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from onefold.alignment import Alignment
from onefold.batches import Data
from onefold.ensemble import ClassPool, class_pool
from onefold.ensemble.names import EnsembleName
from onefold.errors import NothingToAlignError, RecipeError
from onefold.fold import MergeResult, merge, partial_merge
from onefold.fold.merge import DEFAULT
from onefold.recipe.merge.document import Recipe


def fold_networks(
    recipe: Recipe, models: Sequence[nn.Module], data: Data | None, resume: Path | None = None
) -> MergeResult[nn.Module]:
    """The merge that the recipe describes, without reading or writing anything but a saved
    alignment and the folder `resume`.
    """
    part = recipe.align
    align = Alignment.load(part.file.path) if part.file else part.method
    shared: dict[str, Any] = {
        name: getattr(recipe.fold, name)
        for name in ("repair", "weights", "target", "rows", "ridge")
    }
    shared |= {
        name: getattr(part, name)
        for name in ("reference", "probe", "regularization", "prior", "max_positions")
    }
    meant = recipe.network_output.output
    shared |= {"align": align, "fold": recipe.fold.method, "seed": recipe.seed, "output": meant}
    if recipe.fold.until is not None and data is not None:
        return _partial(models, data, recipe.fold.until, shared)
    ensemble: EnsembleName | ClassPool | None = recipe.fold.ensemble
    if recipe.fold.class_shares is not None:
        ensemble = class_pool(models, data, shares=recipe.fold.class_shares, output=meant)
    return merge(
        models, data, ensemble=ensemble, polish=recipe.fold.polish, resume=resume, **shared
    )


def _partial(
    models: Sequence[nn.Module], data: Data, until: str, settings: Mapping[str, Any]
) -> MergeResult[nn.Module]:
    """The same up to a place in the network; what was done there is part of what the fold reports."""
    place = share_of(until) if until.endswith("%") else until
    given = DEFAULT if settings["align"] is None else settings["align"]
    told = []
    try:
        done = partial_merge(models, data, until=place, **{**settings, "align": given})
    except NothingToAlignError as error:
        if settings["align"] is not None:
            raise
        plain: dict[str, Any] = {
            name: None if name in ("regularization", "prior") else value
            for name, value in settings.items()
        }
        done = partial_merge(models, data, until=place, **{**plain, "align": "none"})
        told = [f"nothing was aligned, and the networks are averaged as they are: {error}"]
    done.report.merged.warnings[:0] = told
    facts = {name: value for name, value in done.report.to_dict().items() if name != "merged"}
    done.report.merged.folded["partial"] = facts | {"text": str(done.report).splitlines()[0]}
    return MergeResult(done.model, done.alignment, done.report.merged)


def share_of(text: str) -> float:
    """50% as 0.5. Raises RecipeError where it is no number."""
    try:
        return float(text.removesuffix("%")) / 100
    except ValueError:
        raise RecipeError(
            f"The share of layers to merge is '{text}'; give a module's name, or a number as 50%."
        ) from None
