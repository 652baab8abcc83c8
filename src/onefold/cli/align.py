"""Line checkpoints up with one another, and show how well each group of features matches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from onefold.alignment import Alignment, align
from onefold.alignment.matchers import feature_matchers
from onefold.cli.command import RequestCommand, short_names
from onefold.cli.console import note, print_json, say, table, tell
from onefold.documents.part import Flag, InputFile
from onefold.documents.settings import OneOf, described_fields
from onefold.fold.plan import DEFAULT
from onefold.fold.saved import load_members
from onefold.inference.running import check_runs
from onefold.recipe.document import DataPart, ReadingPart, Request
from onefold.recipe.inputs import load_data
from onefold.recipe.merge.document import Recipe
from onefold.recipe.merge.run import MergeRunning
from onefold.recipe.named_files import inputs_of
from onefold.recipe.run import check_sources
from onefold.result_reports.alignments import alignment_table, report_alignment
from onefold.result_reports.pages import HELP, check_page, write_page
from onefold.result_reports.provenance import Provenance
from onefold.weights import check_apart, check_ending, check_output

KEYS: Any = Recipe.model_fields
RUNNING = described_fields(MergeRunning)
MATCHER = OneOf(feature_matchers)


class AlignRequest(Request):
    """An alignment by options."""

    command: ClassVar[str] = "align"
    noun: ClassVar[str] = "alignment"
    members: Annotated[tuple[InputFile, ...], Flag(metavar="MEMBERS...")] = Field(
        min_length=2, description="Two or more checkpoints."
    )
    reading: ReadingPart = KEYS["reading"]
    data: DataPart = Field(description=KEYS["data"].description)
    align: Annotated[Any, MATCHER] = Field(
        default=DEFAULT, validate_default=True, description="A matcher."
    )
    reference: int = KEYS["reference"]
    max_positions: int | None = KEYS["max_positions"]
    seed: int = KEYS["seed"]
    device: str = KEYS["device"]
    on_disk: bool | None = Field(default=None, description=RUNNING["on_disk"])
    resume: str | None = Field(default=None, description=RUNNING["resume"])
    output: Annotated[str | None, Flag(short="-o")] = Field(
        default=None, description="Save the alignment here (.safetensors)."
    )
    table: Annotated[bool, Flag(name="json")] = Field(
        default=False, description="Print the table as JSON."
    )
    page: Annotated[str | None, Flag(name="report")] = Field(default=None, description=HELP)
    force: bool = Field(default=False, description=RUNNING["force"])


def run(asked: AlignRequest) -> None:
    """Compute, save and print the alignment."""
    _check(asked)
    paths, part = [member.path for member in asked.members], asked.reading.selection
    models, notes = load_members(
        asked.model, paths, asked.device, on_disk=asked.on_disk, selection=part
    )
    tell(notes)
    data = load_data(asked.data, asked.seed)
    check_runs(models[0], data)
    note(f"Aligning {len(models)} members by {MATCHER.name_of(asked.align)}")
    settings: dict[str, Any] = {
        name: getattr(asked, name) for name in ("reference", "max_positions", "seed", "resume")
    }
    found = align(models, data, method=asked.align, **settings)
    if asked.output:
        found.save(asked.output, force=asked.force)
    if asked.page:
        _write_page(found, paths, asked, asked.page)
    tell(found.warnings)
    if asked.table:
        print_json(found.table())
    else:
        _print(found, asked.output)


def _check(asked: AlignRequest) -> None:
    """Refuse what cannot be written or found, before anything slow."""
    if asked.output:
        check_ending(asked.output, "The alignment", (".safetensors",))
        check_apart([asked.output], inputs_of(asked), asked.resume)
        check_output(asked.output, asked.force)
    if asked.page:
        check_page(asked.page, asked.force, inputs_of(asked))
    check_sources(asked)


def _write_page(found: Alignment, paths: Sequence[str], asked: AlignRequest, page: str) -> None:
    """Write the report."""
    origin = Provenance(
        {"architecture": asked.model, "calibration data": str(asked.data)},
        {"seed": asked.seed, "device": asked.device},
    )
    write_page(report_alignment(found, short_names(paths), origin), page, asked.force)
    note(f"Report written to {page}")


def _print(found: Alignment, output: str | None) -> None:
    """Print the table, and where the alignment was saved."""
    table(alignment_table(found))
    say(
        f"{found.members} members mapped to member {found.reference} by {found.method}, from"
        f" {found.examples} examples."
    )
    if output:
        say(f"Saved as {output}; fold with: onefold merge --alignment {output} ...")


COMMAND = RequestCommand(AlignRequest, run)
