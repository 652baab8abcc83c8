"""Carry out a recipe: check everything, fold, score, and write the result with its recipe and report, all of it or nothing.

The result file is put into place last, so that where it is, its recipe and report are too, and it is complete.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from onefold import __version__
from onefold.alignment import Alignment, matchers
from onefold.batches import Data, fingerprint, reusable
from onefold.errors import NothingToAlignError, OutputError, RecipeError, nearest
from onefold.fold import MergeResult, PartialMerge, folds, merge, partial_merge
from onefold.fold.merge import DEFAULT, REPAIRS
from onefold.fold.network_fold import NetworkFold, fold_with
from onefold.fold.partial.saved import describe
from onefold.measure import ClassPool, Report, class_pool
from onefold.measure.scores import EnsembleName
from onefold.recipe import merge_processes
from onefold.recipe.document import Job, Recipe, Record, Repeatable, relative, text_of
from onefold.recipe.inputs import check_device, check_labelled, check_runs, load_data, load_members, verify
from onefold.recipe.summary import Scored, score, summarise
from onefold.sources import check_source
from onefold.weights import check_output, checksum, save
from onefold.weights.atomic import explain, fill, staged, sync

J = TypeVar("J", bound=Job)
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


@dataclass(frozen=True)
class Outputs:
    """Where the result goes, and what is written beside it."""

    result: Path
    recipe: Path
    report: Path
    html: Path | None

    def all(self) -> list[Path]:
        """Every file, the result last."""
        return [*([self.html] if self.html else []), self.report, self.recipe, self.result]


@dataclass(frozen=True)
class Made:
    """What came of a recipe: the network, the recipe as it was written, the report, the files, and what the user should know."""

    recipe: Recipe
    result: MergeResult[nn.Module]
    scored: Scored | None
    report: Report
    files: Outputs
    warnings: list[str] = field(default_factory=list)


def make(
    recipe: Recipe, *, force: bool = False, threads: int | None = None, on_disk: bool | None = None, resume: Path | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Made:  # fmt: skip
    """Carry out `recipe`, whose paths are absolute (`read`, `absolute`), and write its outputs.

    Args:
        recipe: where it has a record, its checksums must hold.
        force: outputs that exist may be replaced; inputs never are.
        threads: CPU threads; None: as recorded, or as many as torch likes. Sums on other numbers of threads round otherwise.
        on_disk: members stay on disk, at most two in memory; None: where their files are large. It changes no bit of the result.
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
        models, sums, warnings = load_members(recipe.model, recipe.members, recipe.device, on_disk=on_disk)
        data = load_data(recipe.data, recipe.seed) if recipe.data else None
        if data is not None:
            check_runs(models[0], reusable(data, "calibration data"))
        evaluation = load_data(recipe.evaluation, recipe.seed) if recipe.evaluation else None
        if evaluation is not None and recipe.evaluation is not None:
            check_labelled(evaluation, recipe.evaluation)
        chooses = getattr(folds.get(recipe.fold.method), "labelled", False)
        digest = check_batches(recipe, data, labels=chooses)
        if recipe.record is not None:
            warnings += other_versions(recipe.record, used)

        polish = f", polish {recipe.fold.polish} passes" if recipe.fold.polish else ""
        tell(f"Folding: align {recipe.align.method or DEFAULT}, fold {recipe.fold.method}, repair {recipe.fold.repair}{polish}")
        if recipe.devices > 1:
            result = merge_processes.fold_in_processes(recipe, used, on_disk=on_disk, resume=resume)
        else:
            result = fold_networks(recipe, models, data, resume)
        scored = None
        if evaluation is not None:
            tell("Scoring the members, their ensemble, their plain average and the fold")
            scored = score(models, result, evaluation, data if recipe.barrier else None, recipe.network_output.output)
        members = tuple(member.model_copy(update={"sha256": found}) for member, found in zip(recipe.members, sums, strict=True))
        complete = recipe.model_copy(update={"members": members, "align": _with_checksum(recipe), "record": record(used, digest)})
        facts = describe(result.model) if isinstance(result.model, PartialMerge) else None
        written = write(files, complete, result.model, lambda done: summarise(done, result, scored), recipe.record, force, facts)
    return Made(written.recipe, result, scored, written.report, files, list(dict.fromkeys([*warnings, *result.report.warnings, *written.warnings])))


def fold_networks(recipe: Recipe, models: Sequence[nn.Module], data: Data | None, resume: Path | None = None) -> MergeResult[nn.Module]:
    """The merge that the recipe describes, without reading or writing anything but a saved alignment and the folder `resume`."""
    part = recipe.align
    align = Alignment.load(part.file.path) if part.file else part.method
    shared: dict[str, Any] = {name: getattr(recipe.fold, name) for name in ("repair", "weights", "target", "rows", "ridge")}
    shared |= {name: getattr(part, name) for name in ("reference", "probe", "regularisation", "prior", "max_positions")}
    meant = recipe.network_output.output
    shared |= {"align": align, "fold": recipe.fold.method, "seed": recipe.seed, "output": meant}
    if recipe.fold.until is not None and data is not None:
        return _partial(models, data, recipe.fold.until, shared)
    ensemble: EnsembleName | ClassPool | None = recipe.fold.ensemble
    if recipe.fold.class_shares is not None:
        ensemble = class_pool(models, data, shares=recipe.fold.class_shares, output=meant)
    return merge(models, data, ensemble=ensemble, polish=recipe.fold.polish, resume=resume, **shared)


def _partial(models: Sequence[nn.Module], data: Data, until: str, settings: Mapping[str, Any]) -> MergeResult[nn.Module]:
    """The same up to a place in the network; what was done there is part of what the fold reports."""
    place = share_of(until) if until.endswith("%") else until
    given = DEFAULT if settings["align"] is None else settings["align"]
    told = []
    try:
        done = partial_merge(models, data, until=place, **{**settings, "align": given})
    except NothingToAlignError as error:
        if settings["align"] is not None:
            raise
        plain: dict[str, Any] = {name: None if name in ("regularisation", "prior") else value for name, value in settings.items()}
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
        raise RecipeError(f"The share of layers to merge is '{text}'; give a module's name, or a number as 50%.") from None


def check_outputs(recipe: Job, force: bool) -> Outputs:
    """The files that the recipe will write, once it is sure that they may be written.

    Raises:
        RecipeError: it names no output. OutputError: a file exists, is one of the inputs, or cannot be written.
    """
    if recipe.output is None:
        raise RecipeError("The recipe names no output; add the key 'output', or give -o.")
    result = Path(recipe.output)
    if result.suffix not in SUFFIXES:
        raise OutputError(f"{result} has the unknown suffix '{result.suffix}'; let the name end in .safetensors or .pt.")
    files = Outputs(result, result.with_suffix(".recipe.yaml"), result.with_suffix(".report.json"), Path(recipe.html) if recipe.html else None)
    if files.html and files.html.suffix != ".html":
        raise OutputError(f"The report cannot be written as '{files.html.name}'; let the name end in .html.")
    inputs = {Path(member.path).resolve() for member in recipe.members}
    for path in reversed(files.all()):
        if path.resolve() in inputs:
            raise OutputError(f"{path} is one of the members to fold; choose another output.")
        check_output(path, force)
    return files


def check_names(recipe: Recipe) -> None:
    """Raises RecipeError, with the nearest known name, where a matcher, fold, repair, data source or device does not exist, or a fold lacks a
    setting."""
    method = recipe.align.method or DEFAULT
    if method not in matchers and method not in ("none", "saved"):
        raise RecipeError(f"There is no matcher named '{method}'; {nearest(method, [*matchers.names(), 'none'])}")
    names = ("target", "rows", "ridge") + (() if recipe.fold.polish else ("ensemble",))
    fold = fold_with(recipe.fold.method, {name: getattr(recipe.fold, name) for name in names})
    if isinstance(fold, NetworkFold) and recipe.data is None and (fold.traced or fold.labelled):
        raise RecipeError(f"The fold '{recipe.fold.method}' needs calibration data; add the key 'data', or give --data.")
    if recipe.fold.repair not in REPAIRS:
        raise RecipeError(f"There is no repair '{recipe.fold.repair}'; {nearest(recipe.fold.repair, REPAIRS)}")
    for part in (recipe.data, recipe.evaluation):
        if part is not None:
            check_source(part.source)
    if recipe.align.file is not None:
        verify(recipe.align.file)
    check_device(recipe.device)


def record(threads: int, data_sha256: str | None = None) -> Record:
    """The versions of everything that the bits of a result depend on."""
    versions = {name: version(name) for name in ("torch", "numpy", "scipy")}
    return Record(onefold=__version__, python=platform.python_version(), threads=threads, data_sha256=data_sha256, **versions)


@contextlib.contextmanager
def settings(recipe: Repeatable, threads: int | None) -> Iterator[int]:
    """The recipe's seed and number of threads, for as long as it is carried out."""
    before = torch.get_num_threads()
    used = threads or (recipe.record.threads if recipe.record else before)
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(recipe.seed)
            torch.set_num_threads(used)
            yield used
    finally:
        torch.set_num_threads(before)


def check_batches(recipe: Repeatable, data: Data | None, *, labels: bool = False) -> str | None:
    """The fingerprint of the batches that `recipe` names. Raises RecipeError where it is not the recorded one."""
    if data is None:
        return None
    found = fingerprint(data, labels=labels)
    recorded = recipe.record.data_sha256 if recipe.record else None
    if recorded is not None and found != recorded:
        raise RecipeError(
            f"The data '{recipe.data and recipe.data.source}' gives other batches than the recipe was made with (SHA-256 {found[:12]}, "
            f"recorded {recorded[:12]}); get the original data, or delete the key 'record' to use these."
        )
    return found


def other_versions(recorded: Record, threads: int) -> list[str]:
    """A warning where a recipe was made with other versions than these."""
    now = record(threads)
    changed = [f"{name} {getattr(recorded, name)}, now {getattr(now, name)}" for name in ("onefold", "torch", "numpy", "scipy", "threads")
               if getattr(recorded, name) != getattr(now, name)]  # fmt: skip
    return [f"the recipe was made with {'; '.join(changed)}: the result may differ in its last bits"] if changed else []


def _with_checksum(recipe: Recipe) -> object:
    file = recipe.align.file
    return recipe.align.model_copy(update={"file": file.model_copy(update={"sha256": verify(file)})}) if file else recipe.align


@dataclass(frozen=True)
class Written(Generic[J]):
    """The recipe as it was written, with the result's checksum, the report, and what the user should know."""

    recipe: J
    report: Report
    warnings: list[str]


def write(
    files: Outputs,
    recipe: J,
    network: nn.Module,
    summary: Callable[[J], Report],
    recorded: Record | None,
    force: bool,
    metadata: Mapping[str, str] | None = None,
) -> Written[J]:
    """Write every file under a hidden name, then put all into place, the result last."""
    warnings = []
    with staged(files.result) as folder:
        folder.mkdir()
        ready = {path: folder / f"{number}{path.suffix}" for number, path in enumerate(files.all())}
        try:
            facts = {"onefold.version": __version__, "onefold.members": ",".join(member.sha256 or "" for member in recipe.members)}
            save(network, ready[files.result], metadata=facts | dict(metadata or {}))
        except OutputError as error:  # the user knows the file under its final name
            raise OutputError(str(error).replace(str(ready[files.result]), str(files.result))) from error
        assert recipe.record is not None
        digest = checksum(ready[files.result])
        if recorded is not None and recorded.result_sha256 not in (None, digest):
            warnings.append(f"the result has other bits (SHA-256 {digest[:12]}) than the recipe records ({str(recorded.result_sha256)[:12]})")
        recipe = recipe.model_copy(update={"record": recipe.record.model_copy(update={"result_sha256": digest})})
        report = summary(relative(recipe, files.report.resolve().parent))
        fill(ready[files.recipe], text_of(recipe, files.recipe), files.recipe)
        fill(ready[files.report], report.to_json(), files.report)
        if files.html:
            fill(ready[files.html], report.to_html(), files.html)
        for path in files.all():
            check_output(path, force)  # somebody else may have written meanwhile
        try:
            for path in files.all():  # at once, so that hardly a moment lies between the first and the result
                os.replace(ready[path], path)
            for parent in {path.parent for path in files.all()}:
                sync(parent)
        except OSError as error:
            raise explain(error, files.result) from error
    return Written(recipe, report, warnings)
