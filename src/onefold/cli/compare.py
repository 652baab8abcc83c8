"""Say before a merge whether one can pay, and which: do these networks know the same?

With --model and --data networks are run, and the sentence is that of `onefold merge` without
--fold. It needs no labels.

Without these the files alone are compared, as folders of fine-tunes: how far each is from --base or
from the likely one, cosines of their changes, opposite signs, NaN, dtypes, tokenizers.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from onefold.cli.command import NetworksRequest, RequestCommand, short_names
from onefold.cli.console import note, paragraph, print_json, table, tell
from onefold.comparison import compare_networks
from onefold.documents.part import Flag, InputFile
from onefold.errors import RecipeError
from onefold.fold.saved import load_networks
from onefold.recipe.document import DataPart
from onefold.recipe.inputs import load_data
from onefold.recipe.named_files import inputs_of
from onefold.recipe.run import check_sources
from onefold.recipe.scoring import TaskPart
from onefold.result_reports.comparisons import comparison_rows, report_comparison
from onefold.result_reports.pages import FORCE, HELP, check_page, write_page
from onefold.sources.class_names import class_names_of


class CompareRequest(NetworksRequest):
    """A comparison by options."""

    command: ClassVar[str] = "compare"
    noun: ClassVar[str] = "comparison"
    members: Annotated[tuple[InputFile, ...], Flag(metavar="CHECKPOINTS...")] = Field(
        min_length=2,
        description="Two or more checkpoints of one architecture; without --model also folders.",
    )
    base: str | None = Field(
        default=None,
        description="Of files alone: the checkpoint that the others were trained from.",
    )
    data: DataPart = Field(description="Data to compare on; labels are not needed.")
    scoring: TaskPart = TaskPart()
    page: Annotated[str | None, Flag(name="report")] = Field(default=None, description=HELP)
    force: bool = Field(default=False, description=FORCE)


def run(asked: CompareRequest) -> None:
    """Load, compare and print."""
    if asked.base is not None:
        raise RecipeError(
            "--base is for a comparison of files alone; leave it out, or --model and --data."
        )
    if asked.page:
        check_page(asked.page, asked.force, inputs_of(asked))
    check_sources(asked)
    paths, part = asked.paths, asked.reading.selection
    networks, notes = load_networks(
        asked.model, paths, asked.device, check_finite=False, selection=part
    )
    tell(notes)
    data = load_data(asked.data)
    note(f"Comparing {len(networks)} networks on {asked.data.source}")
    output = asked.network_output.output
    task, names = asked.scoring.task, short_names(paths)
    found = compare_networks(networks, data, task=task, names=names, output=output)
    if asked.page:
        report = report_comparison(found, _facts(asked), class_names_of(data))
        write_page(report, asked.page, asked.force)
        note(f"Report written to {asked.page}")
    if asked.table:
        print_json({"checkpoints": paths, **found.to_dict()})
        return
    for sentence in found.sentences:
        paragraph(sentence)
    if found.evidence is not None:
        table(comparison_rows(found))


def _facts(asked: CompareRequest) -> dict[str, str]:
    """What the report says was compared."""
    return {
        "architecture": asked.model,
        "data": str(asked.data),
        **{f"network {k}": path for k, path in enumerate(asked.paths)},
        "device": asked.device,
        **{name: str(fact) for name, fact in asked.scoring.facts().items()},
    }


COMMAND = RequestCommand(CompareRequest, run)
