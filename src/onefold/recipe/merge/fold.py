"""The merge that a recipe describes, without reading or writing anything but a saved alignment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from onefold.alignment import Alignment, as_matcher
from onefold.alignment import align as find_alignment
from onefold.batches import Data
from onefold.ensemble import ClassPool, class_pool
from onefold.ensemble.names import EnsembleName
from onefold.errors import NothingToAlignError, RecipeError
from onefold.fold import MergeResult, merge, partial_merge
from onefold.fold.network_fold import NetworkFold, StateFold, as_fold
from onefold.fold.plan import DEFAULT
from onefold.recipe.merge.document import AlignPart, FoldPart, Recipe
from onefold.registry import with_settings


def fold_networks(
    recipe: Recipe, models: Sequence[nn.Module], data: Data | None, resume: Path | None = None
) -> MergeResult[nn.Module]:
    """The merge that the recipe describes, without reading or writing anything but a saved
    alignment and the folder `resume`.
    """
    part, fold = recipe.align, recipe.fold
    align: Any = part.method
    if part.file:
        align = Alignment.load(part.file.path)
    elif part.method != "none" and _tuned(part) and data is not None:
        align = with_settings(
            as_matcher(part.method or DEFAULT),
            regularization=part.regularization,
            prior=part.prior,
            probe=None if part.probe == "auto" else part.probe,
        )
    meant = recipe.network_output.output
    shared: dict[str, Any] = {
        "align": align,
        "fold": fold_of(fold),
        "repair": fold.repair,
        "weights": fold.weights,
        "reference": part.reference,
        "seed": recipe.seed,
        "output": meant,
    }
    if fold.until is not None and data is not None:
        return _partial(models, data, fold.until, shared)
    if (resume or part.max_positions) and align != "none" and not part.file:
        found = find_alignment(
            models,
            data,
            method=align or DEFAULT,
            reference=part.reference,
            max_positions=part.max_positions,
            seed=recipe.seed,
            resume=resume,
        )
        shared["align"] = found
    ensemble: EnsembleName | ClassPool | None = fold.ensemble
    if fold.class_shares is not None:
        ensemble = class_pool(models, data, shares=fold.class_shares, output=meant)
    return merge(models, data, ensemble=ensemble, polish=fold.polish, **shared)


def _tuned(part: AlignPart) -> bool:
    return part.regularization is not None or part.prior is not None or part.probe != "auto"


def fold_of(part: FoldPart) -> NetworkFold:
    """The fold with its settings."""
    fold = as_fold(part.method)
    given = {"target": part.target, "rows": part.rows, "ridge": part.ridge}
    if isinstance(fold, StateFold):
        if wrong := [name for name, value in given.items() if value is not None]:
            raise RecipeError(f"The fold '{part.method}' takes no {wrong[0]}; leave it out.")
        return fold
    return with_settings(fold, **given)


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
        plain = dict(settings)
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
