"""Score checkpoints and their ensemble by the scores of their task, and by metrics."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from onefold.cli.command import NetworksRequest, RequestCommand, short_names
from onefold.cli.console import note, print_json, say, show, tell, verdict
from onefold.documents.part import Flag, InputFile
from onefold.ensemble.names import EnsembleMean
from onefold.fold.saved import load_networks
from onefold.recipe.document import ASKED, EvaluationPart
from onefold.recipe.inputs import check_labelled, load_data
from onefold.recipe.named_files import inputs_of
from onefold.recipe.run import check_sources
from onefold.recipe.scoring import ScoringPart
from onefold.result_reports.networks import NetworksScored, report_networks, score_networks
from onefold.result_reports.pages import FORCE, HELP, check_page, write_page
from onefold.sources import build_model
from onefold.tasks.calibration import Binning


class EvalRequest(NetworksRequest):
    """An evaluation by options."""

    command: ClassVar[str] = "eval"
    noun: ClassVar[str] = "evaluation"
    members: Annotated[tuple[InputFile, ...], Flag(metavar="CHECKPOINTS...")] = Field(
        min_length=1, description="One or more checkpoints of one architecture."
    )
    data: EvaluationPart = Field(description="Labelled data to score on.")
    scoring: Annotated[ScoringPart, ASKED] = ScoringPart()
    ensemble: EnsembleMean | None = Field(
        default=None,
        description="The outputs that the ensemble averages; left out, as the task does: of"
        " classes the probabilities, of numbers the outputs.",
    )
    bins: int = Field(default=15, ge=1, le=100_000, description="Bins of the calibration error.")
    binning: Binning = Field(default="equal-width", description="How the bins are cut.")
    page: Annotated[str | None, Flag(name="report")] = Field(default=None, description=HELP)
    force: bool = Field(default=False, description=FORCE)


def run(asked: EvalRequest) -> None:
    """Load, score and print."""
    if asked.page:
        check_page(asked.page, asked.force, inputs_of(asked))
    check_sources(asked)
    paths, part = asked.paths, asked.reading.selection
    networks, notes = load_networks(asked.model, paths, asked.device, several=True, selection=part)
    tell(notes)
    data = load_data(asked.data)
    check_labelled(data, asked.data, "score with; choose other data")
    note(f"Scoring {len(networks)} networks on the {asked.data.split} split of {asked.data.source}")
    found = score_networks(
        networks,
        short_names(paths),
        data,
        plain=build_model(asked.model),
        ensemble=asked.ensemble,
        bins=asked.bins,
        binning=asked.binning,
        output=asked.network_output.output,
        scoring=asked.scoring.scoring(),
    )
    if asked.page:
        write_page(report_networks(found, _facts(asked)), asked.page, asked.force)
        note(f"Report written to {asked.page}")
    if asked.table:
        print_json({"checkpoints": paths, **found.data()})
    else:
        _print(found)


def _facts(asked: EvalRequest) -> dict[str, str]:
    """What the report says was scored, and how."""
    return {
        "architecture": asked.model,
        "evaluation data": str(asked.data),
        **{f"network {k}": path for k, path in enumerate(asked.paths)},
        "ensemble": f"mean of {asked.ensemble}" if asked.ensemble else "the task's mean",
        **{name: str(fact) for name, fact in asked.scoring.facts().items()},
        "device": asked.device,
    }


def _print(found: NetworksScored) -> None:
    """Print the verdict, the table, and the names of the classes."""
    classes = [one for one in found.sentences if one.startswith("Classes: ")]
    for sentence in found.sentences:
        if sentence not in classes:
            verdict(sentence)
    say(f"Scores on {found.candidates[0].scores.n:,} examples:")
    show(found.table, told="", more=True)
    for sentence in classes:
        say(sentence)


COMMAND = RequestCommand(EvalRequest, run)
