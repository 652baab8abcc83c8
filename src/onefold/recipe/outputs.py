"""The files of a recipe: checked before anything slow, written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from torch import nn

from onefold._version import __version__
from onefold.errors import OutputError, RecipeError
from onefold.recipe.document import Job, Record
from onefold.recipe.reading import relative, text_of
from onefold.report import Report
from onefold.weights import check_ending, check_output, checksum, save
from onefold.weights.atomic import explain, fill, staged
from onefold.weights.placing import finish_dead, place_together

J = TypeVar("J", bound=Job)

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


@dataclass(frozen=True)
class Outputs:
    """The files of a result, and of what is written beside it."""

    result: Path
    recipe: Path
    report: Path
    html: Path | None

    def all(self) -> list[Path]:
        """Every file, the result last."""
        return [*([self.html] if self.html else []), self.report, self.recipe, self.result]


def check_outputs(recipe: Job, force: bool) -> Outputs:
    """The files that the recipe will write, once it is sure that they may be written.

    Raises:
        RecipeError: it names no output. OutputError: a file exists, is one of the inputs, or cannot
            be written.
    """
    if recipe.output is None:
        raise RecipeError("The recipe names no output; add the key 'output', or give -o.")
    result = Path(recipe.output)
    if result.suffix not in SUFFIXES:
        raise OutputError(
            f"{result} has the unknown suffix '{result.suffix}'; let the name end in .safetensors"
            " or .pt."
        )
    files = Outputs(
        result,
        result.with_suffix(".recipe.yaml"),
        result.with_suffix(".report.json"),
        Path(recipe.html) if recipe.html else None,
    )
    if files.html:
        check_ending(files.html, "The report", (".html",))
    finish_dead(result)
    inputs = {Path(member.path).resolve() for member in recipe.members}
    for path in reversed(files.all()):
        if path.resolve() in inputs:
            raise OutputError(f"{path} is one of the members to fold; choose another output.")
        check_output(path, force)
    return files


@dataclass(frozen=True)
class Written(Generic[J]):
    """The recipe as it was written, the report, and what the user should know."""

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
    """Write every file under a hidden name, then put all into place together."""
    with staged(files.result) as folder:
        folder.mkdir()
        ready = {path: folder / f"{number}{path.suffix}" for number, path in enumerate(files.all())}
        sums = ",".join(member.sha256 or "" for member in recipe.members)
        facts = {"onefold.version": __version__, "onefold.members": sums, **(metadata or {})}
        save_as(network, ready[files.result], files.result, facts)
        assert recipe.record is not None
        digest = checksum(ready[files.result])
        record = recipe.record.model_copy(update={"result_sha256": digest})
        recipe = recipe.model_copy(update={"record": record})
        report = summary(relative(recipe, files.report.resolve().parent))
        fill(ready[files.recipe], text_of(recipe, files.recipe), files.recipe)
        fill(ready[files.report], report.to_json(), files.report)
        if files.html:
            fill(ready[files.html], report.to_html(), files.html)
        for path in files.all():
            check_output(path, force)  # somebody else may have written meanwhile
        try:
            place_together(folder, ready)
        except OSError as error:
            raise explain(error, files.result) from error
    return Written(recipe, report, other_bits("the result", digest, recorded))


def save_as(network: nn.Module, hidden: Path, final: Path, facts: Mapping[str, str]) -> None:
    """Save a network under a hidden name. Raises OutputError that names the final one."""
    try:
        save(network, hidden, metadata=dict(facts))
    except OutputError as error:
        raise OutputError(str(error).replace(str(hidden), str(final))) from error


def other_bits(name: str, digest: str, recorded: Record | None) -> list[str]:
    """A warning if a result has another checksum than the recipe records."""
    before = recorded.result_sha256 if recorded else None
    if before in (None, digest):
        return []
    return [
        f"{name} has other bits (SHA-256 {digest[:12]}) than the recipe records"
        f" ({str(before)[:12]})"
    ]
