"""Score checkpoints and their ensemble: accuracy, NLL, calibration and Brier score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import nn

from onefold.cli.command import RequestCommand
from onefold.cli.console import note, print_json, say, show, tell
from onefold.documents.part import Flag, InputFile
from onefold.ensemble.names import EnsembleMean
from onefold.fold.saved import load_networks
from onefold.measure import evaluate_all
from onefold.measure.calibration import Binning
from onefold.measure.evaluation import Evaluation
from onefold.recipe.document import EvaluationPart, Job, NetworkOutputPart, ReadingPart, Request
from onefold.recipe.inputs import check_labelled, load_data
from onefold.recipe.run import check_sources
from onefold.report import Candidate, comparison_table, verdict
from onefold.report.comparison import best_names, paired_rows
from onefold.result_reports.scored import parameters_of
from onefold.sources import build_model
from onefold.sources.class_names import class_map, class_names_of

KEYS: Any = Job.model_fields


class EvalRequest(Request):
    """An evaluation by options."""

    command: ClassVar[str] = "eval"
    noun: ClassVar[str] = "evaluation"
    members: Annotated[tuple[InputFile, ...], Flag(metavar="CHECKPOINTS...")] = Field(
        min_length=1, description="One or more checkpoints of one architecture."
    )
    reading: ReadingPart = KEYS["reading"]
    data: EvaluationPart = Field(description="Labelled data to score on.")
    ensemble: EnsembleMean = Field(
        default="probabilities", description="The outputs that the ensemble averages."
    )
    bins: int = Field(default=15, ge=1, description="Bins of the calibration error.")
    binning: Binning = Field(default="equal-width", description="How the bins are cut.")
    network_output: NetworkOutputPart = KEYS["network_output"]
    device: str = KEYS["device"]
    table: Annotated[bool, Flag(name="json")] = Field(
        default=False, description="Print everything as JSON."
    )


def run(asked: EvalRequest) -> None:
    """Load, score and print."""
    check_sources(asked)
    paths, part = [member.path for member in asked.members], asked.reading.selection
    networks, notes = load_networks(asked.model, paths, asked.device, several=True, selection=part)
    tell(notes)
    data = load_data(asked.data)
    check_labelled(data, asked.data, "score with; choose other data")
    note(f"Scoring {len(networks)} networks on the {asked.data.split} split of {asked.data.source}")
    found = evaluate_all(
        networks,
        data,
        ensemble=asked.ensemble,
        bins=asked.bins,
        binning=asked.binning,
        output=asked.network_output.output,
    )
    names = class_names_of(data)
    if asked.table:
        print_json(_plain(asked, found, names))
    else:
        _print(asked, found, networks, names)


def _plain(asked: EvalRequest, found: Evaluation, names: Any) -> dict[str, Any]:
    """Everything as plain data."""
    scores = [*found.members, *([found.ensemble] if len(found.members) > 1 else [])]
    return {
        "checkpoints": [member.path for member in asked.members],
        **({"classes": names} if names else {}),
        **found.to_dict(),
        "best": found.best,
        "less the best, paired": paired_rows(scores, found.best),
    }


def _print(
    asked: EvalRequest, found: Evaluation, networks: Sequence[nn.Module], names: Any
) -> None:
    """Print the table, and sentences on the best and on agreement if there are several."""
    sizes, count = [parameters_of(network) for network in networks], len(networks)
    one = parameters_of(build_model(asked.model))  # a mixture is as large and as slow as several
    rows = [
        Candidate(label, scores, size, size / one)
        for label, scores, size in zip(_labels(asked), found.members, sizes, strict=True)
    ]
    best = best_names(rows)[0]
    if count > 1:
        title, note_ = f"ensemble of {count}", f"mean of {asked.ensemble}"
        rows.append(Candidate(title, found.ensemble, sum(sizes), sum(sizes) / one, note_))
    show(comparison_table(rows, against=best if count > 1 else None))
    if names:
        say(f"Classes: {class_map(names)}")
    if count > 1:
        first = next(row for row in rows if row.name == best)
        others = [row for row in rows if row.name != best]
        say(verdict(first._replace(name=f"The best of them ({best})"), others))
        say(
            f"The networks agree with one another on {100 * (found.ensemble.agreement or 0):.1f} %"
            " of the examples, on average over pairs."
        )


def _labels(asked: EvalRequest) -> list[str]:
    """File names, or whole paths if the names alone are not different."""
    paths = [Path(member.path) for member in asked.members]
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


COMMAND = RequestCommand(EvalRequest, run)
