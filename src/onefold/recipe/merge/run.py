"""Carry out a recipe: check everything, fold, score, and write the result with its recipe and
report, all of it or nothing.

The result file is put into place last, so that where it is, its recipe and report are too, and it
is complete.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from onefold.alignment import matchers
from onefold.batches import check_reiterable
from onefold.errors import RecipeError, nearest
from onefold.fold import MergeResult, PartialMerge, folds
from onefold.fold.partial.saved import describe
from onefold.fold.plan import DEFAULT, REPAIRS
from onefold.recipe.environment import check_batches, other_versions, record, settings
from onefold.recipe.inputs import (
    check_device,
    check_labelled,
    check_runs,
    load_data,
    load_members,
    verify,
)
from onefold.recipe.merge import processes as merge_processes
from onefold.recipe.merge.document import Recipe
from onefold.recipe.merge.fold import fold_networks, fold_of
from onefold.recipe.merge.report import Scored, score, summarise
from onefold.recipe.outputs import Outputs, check_outputs, write
from onefold.report import Report
from onefold.sources import check_source


@dataclass(frozen=True)
class Made:
    """What came of a recipe: the network, the recipe as it was written, the report, the files, and
    what the user should know.
    """

    recipe: Recipe
    result: MergeResult[nn.Module]
    scored: Scored | None
    report: Report
    files: Outputs
    warnings: list[str] = field(default_factory=list)


def make(
    recipe: Recipe,
    *,
    force: bool = False,
    threads: int | None = None,
    on_disk: bool | None = None,
    resume: Path | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Made:
    """Carry out `recipe`, whose paths are absolute (`read`, `absolute`), and write its outputs.

    Args:
        recipe: where it has a record, its checksums must hold.
        force: outputs that exist may be replaced; inputs never are.
        threads: CPU threads; None: as recorded, or as many as torch likes. Sums on other numbers of
            threads round otherwise.
        on_disk: members stay on disk, at most two in memory; None: where their files are large. It
            changes no bit of the result.
        resume: a folder in which the alignment is kept, and taken from as far as it is there.
        tell: is called with one line on what goes on.

    Raises:
        OnefoldError: of every kind, one sentence each; nothing has been written then.
    """
    files = check_outputs(recipe, force)
    check_names(recipe)
    on_disk = merge_processes.check(recipe, on_disk, resume)
    with settings(recipe, threads) as used:
        tell(f"Reading {len(recipe.members)} members")
        models, sums, warnings = load_members(
            recipe.model, recipe.members, recipe.device, on_disk=on_disk
        )
        data = load_data(recipe.data, recipe.seed) if recipe.data else None
        if data is not None:
            check_runs(models[0], check_reiterable(data, "calibration data"))
        evaluation = load_data(recipe.evaluation, recipe.seed) if recipe.evaluation else None
        if evaluation is not None and recipe.evaluation is not None:
            check_labelled(evaluation, recipe.evaluation)
        chooses = getattr(folds.get(recipe.fold.method), "labelled", False)
        digest = check_batches(recipe, data, labels=chooses)
        if recipe.record is not None:
            warnings += other_versions(recipe.record, used)

        polish = f", polish {recipe.fold.polish} passes" if recipe.fold.polish else ""
        tell(
            f"Folding: align {recipe.align.method or DEFAULT}, fold {recipe.fold.method}, repair"
            f" {recipe.fold.repair}{polish}"
        )
        if recipe.devices > 1:
            result = merge_processes.fold_in_processes(recipe, used, on_disk=on_disk, resume=resume)
        else:
            result = fold_networks(recipe, models, data, resume)
        scored = None
        if evaluation is not None:
            tell("Scoring the members, their ensemble, their plain average and the fold")
            scored = score(
                models,
                result,
                evaluation,
                data if recipe.barrier else None,
                recipe.network_output.output,
            )
        members = tuple(
            member.model_copy(update={"sha256": found})
            for member, found in zip(recipe.members, sums, strict=True)
        )
        complete = recipe.model_copy(
            update={
                "members": members,
                "align": _with_checksum(recipe),
                "record": record(used, digest),
            }
        )
        facts = describe(result.model) if isinstance(result.model, PartialMerge) else None
        written = write(
            files,
            complete,
            result.model,
            lambda done: summarise(done, result, scored),
            recipe.record,
            force,
            facts,
        )
    return Made(
        written.recipe,
        result,
        scored,
        written.report,
        files,
        list(dict.fromkeys([*warnings, *result.report.warnings, *written.warnings])),
    )


def check_names(recipe: Recipe) -> None:
    """Raises RecipeError, with the nearest known name, where a matcher, fold, repair, data source
    or device does not exist, or a fold lacks a setting.
    """
    method = recipe.align.method or DEFAULT
    if method not in matchers and method not in ("none", "saved"):
        raise RecipeError(
            f"There is no matcher named '{method}'; {nearest(method, [*matchers.names(), 'none'])}"
        )
    fold = fold_of(recipe.fold)
    if recipe.data is None and (fold.traced or fold.labelled):
        raise RecipeError(
            f"The fold '{recipe.fold.method}' needs calibration data; add the key 'data', or give"
            " --data."
        )
    if recipe.fold.repair not in REPAIRS:
        raise RecipeError(
            f"There is no repair '{recipe.fold.repair}'; {nearest(recipe.fold.repair, REPAIRS)}"
        )
    for part in (recipe.data, recipe.evaluation):
        if part is not None:
            check_source(part.source)
    if recipe.align.file is not None:
        verify(recipe.align.file)
    check_device(recipe.device)


def _with_checksum(recipe: Recipe) -> object:
    file = recipe.align.file
    return (
        recipe.align.model_copy(update={"file": file.model_copy(update={"sha256": verify(file)})})
        if file
        else recipe.align
    )
