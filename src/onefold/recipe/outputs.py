"""The files of a recipe: checked before anything slow, written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import nn

from onefold._version import __version__
from onefold.documents.record import Record, other_bits
from onefold.errors import OutputError, RecipeError
from onefold.recipe.document import Document, Job
from onefold.recipe.reading import relative, text_of
from onefold.report import Report
from onefold.result_reports.provenance import stamp
from onefold.weights import check_apart, check_ending, check_output
from onefold.weights.paths import real_output
from onefold.weights.placing import finish_dead
from onefold.weights.together import together

D = TypeVar("D", bound=Document)
S = TypeVar("S")

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


@dataclass(frozen=True)
class Outputs:
    """The files of a result, and of what is written beside it.

    Attributes:
        result: the checkpoint of the result.
        recipe: the recipe that makes it again.
        report: the report for machines.
        html: the report to read, if it is asked for.
        beside: the name beside which the files lie hidden until all are finished.
        name: how messages call the result.
    """

    result: Path
    recipe: Path
    report: Path
    html: Path | None
    beside: Path
    name: str = "the result"

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
    """

    networks: Mapping[str, nn.Module]
    facts: Callable[[str], Mapping[str, str]]
    scored: S | None
    summarize: Callable[[D, Mapping[str, str]], Report]


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
