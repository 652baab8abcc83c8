"""The files of a recipe: checked before anything slow, written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import nn

from onefold._version import __version__
from onefold.documents.record import Record, other_bits
from onefold.errors import OutputError, RecipeError
from onefold.fold.merge_report import MergeReport
from onefold.integrations.pretrained import REPLACED, Card, check_writable, fill_folder
from onefold.measure import Scores
from onefold.recipe.document import Document, Job
from onefold.recipe.reading import relative, text_of
from onefold.report import Report
from onefold.result_reports.provenance import stamp
from onefold.weights import atomic_directory, check_apart, check_ending, check_output, checksum
from onefold.weights.atomic import atomic_write
from onefold.weights.folders import all_pretrained
from onefold.weights.paths import real_output
from onefold.weights.placing import finish_dead
from onefold.weights.together import together

D = TypeVar("D", bound=Document)
S = TypeVar("S")

RECIPE, REPORT = "recipe.yaml", "report.json"  # in a folder
AGAIN = "../again"
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


@dataclass(frozen=True)
class Outputs:
    """The files of a result, and of what is written beside it.

    A folder of `save_pretrained` is one result, and recipe and report are in it.

    Attributes:
        result: the checkpoint of the result, or its folder.
        recipe: the recipe that makes it again.
        report: the report for machines.
        html: the report to read, if it is asked for.
        beside: the name beside which the files lie hidden until all are finished.
        name: how messages call the result.
        folder: whether the result is a folder.
    """

    result: Path
    recipe: Path
    report: Path
    html: Path | None
    beside: Path
    name: str = "the result"
    folder: bool = False

    def all(self) -> list[Path]:
        """Every file, the result last."""
        return [*([self.html] if self.html else []), self.report, self.recipe, self.result]


@dataclass(frozen=True)
class Outcome(Generic[D, S]):
    """What was computed, and the functions that describe it.

    Attributes:
        networks: by the names of their files, that of the result among them.
        facts: the header of a network's file, from the file's name.
        scored: the scores; None: not scored.
        summarize: makes the report from the recipe as written and the checksums of the files.
        merged: the report of a merge, for the card of a folder; None: it was none.
        scores: by what was scored, for the card.
    """

    networks: Mapping[str, nn.Module]
    facts: Callable[[str], Mapping[str, str]]
    scored: S | None
    summarize: Callable[[D, Mapping[str, str]], Report]
    merged: MergeReport | None = None
    scores: Mapping[str, Scores] = field(default_factory=dict)


@dataclass(frozen=True)
class Written(Generic[D]):
    """The recipe as it was written, the report, and what the user should know."""

    recipe: D
    report: Report
    warnings: list[str]


def check_outputs(
    recipe: Job, force: bool, inputs: Sequence[Path], kept: Path | None = None
) -> Outputs:
    """The files that the recipe will write, once it is sure that they may be written.

    Args:
        recipe: the recipe. If the result or the page that it names is a link, the file at its end
            is written, and what comes beside the result is beside that file.
        force: existing files are replaced.
        inputs: the files that are read.
        kept: the folder that is kept to resume from.

    Raises:
        RecipeError: it names no output. OutputError: a file exists, is one of the inputs, or
            cannot be written.
    """
    if recipe.output is None:
        raise RecipeError("The recipe names no output; add the key 'output', or give -o.")
    result = real_output(recipe.output)
    if result.suffix not in SUFFIXES:
        if all_pretrained(recipe.paths):
            return _check_folder(result, recipe, force, inputs, kept)
        raise OutputError(
            f"{result} has the unknown suffix '{result.suffix}'; let the name end in .safetensors"
            " or .pt."
        )
    files = Outputs(
        result,
        result.with_suffix(".recipe.yaml"),
        result.with_suffix(".report.json"),
        real_output(recipe.html) if recipe.html else None,
        beside=result,
    )
    if files.html:
        check_ending(files.html, "The report", (".html",))
    finish_dead(result)
    check_apart(files.all(), inputs, kept)
    for path in reversed(files.all()):
        check_output(path, force)
    return files


def _check_folder(
    result: Path, recipe: Job, force: bool, inputs: Sequence[Path], kept: Path | None
) -> Outputs:
    """The files of a result that becomes a folder; as `check_outputs`."""
    html = real_output(recipe.html) if recipe.html else None
    files = Outputs(result, result / RECIPE, result / REPORT, html, beside=result, folder=True)
    if html:
        check_ending(html, "The report", (".html",))
    finish_dead(result)
    old = [path for one in REPLACED for path in result.glob(one)] if result.is_dir() else []
    check_apart([*files.all(), *old], inputs, kept)
    check_output(result, force, folder=True)
    if html and html.parent != result:
        check_output(html, force)
    return files


def write(
    files: Outputs,
    recipe: D,
    outcome: Outcome[D, Any],
    recorded: Record | None,
    *,
    force: bool = True,
    remove: Iterable[Path] = (),
) -> Written[D]:
    """Write every file under a hidden name, then put all into place together.

    Args:
        files: where the files shall come; networks other than the result come beside it.
        recipe: with the versions that the result was made with.
        outcome: the networks and the report.
        recorded: what the result should have been made with, if the recipe was made before.
        force: existing files are replaced.
        remove: files that go when the others have come.

    Raises:
        OutputError: the disk is full or refuses. WeightsError: a network is not finite.
    """
    if files.folder:
        return _write_folder(files, recipe, outcome, recorded, force)
    folder, texts = files.result.parent, [path for path in files.all() if path != files.result]
    places = {name: folder / name for name in outcome.networks}
    with together(files.beside, [*texts, *places.values()]) as new:
        sums = {}
        for name, network in outcome.networks.items():
            facts = {"onefold.version": __version__, **outcome.facts(name)}
            sums[name] = new.save(network, places[name], facts)
        digest = sums[files.result.name]
        assert recipe.record is not None
        record = recipe.record.model_copy(update={"result_sha256": digest})
        recipe = recipe.model_copy(update={"record": record})
        report = stamp(outcome.summarize(relative(recipe, files.report.resolve().parent), sums))
        new.write(text_of(recipe, files.recipe), files.recipe)
        new.write(report.to_json(), files.report)
        if files.html:
            new.write(report.to_html(), files.html)
        new.place(force=force, remove=remove)
    return Written(recipe, report, other_bits(files.name, digest, recorded))


def _write_folder(
    files: Outputs, recipe: D, outcome: Outcome[D, Any], recorded: Record | None, force: bool
) -> Written[D]:
    """Write a result as a folder, with recipe and report in it; as `write`.

    Raises:
        SettingError: the network is no plain one of transformers.
    """
    network = outcome.networks[files.result.name]
    check_writable(network)
    members = [Path(member.path) for member in getattr(recipe, "members", ())]
    beside = (
        f"`{files.recipe.name}` makes the same again, and `{files.report.name}` holds the whole"
        " report.",
    )
    names = [member.name for member in members]
    card = Card(files.result.name, names, outcome.merged, outcome.scores, beside)
    with atomic_directory(files.result, force=force, replaces=REPLACED) as place:
        fill_folder(place, network, next(iter(members), None), card)
        digest = checksum(place)
        assert recipe.record is not None
        record = recipe.record.model_copy(update={"folder_sha256": digest})
        recipe = recipe.model_copy(update={"record": record})
        sums = {files.result.name: digest}
        report = stamp(outcome.summarize(relative(recipe, files.result.resolve()), sums))
        texts = {files.recipe: text_of(recipe, files.recipe, AGAIN), files.report: report.to_json()}
        for path, text in texts.items():
            (place / path.name).write_text(text, encoding="utf-8")
        if files.html and files.html.parent == files.result:
            (place / files.html.name).write_text(report.to_html(), encoding="utf-8")
        elif files.html:
            atomic_write(files.html, report.to_html(), force=force)
    return Written(recipe, report, other_bits(files.name, digest, recorded, folder=True))
