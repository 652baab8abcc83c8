"""The report of a pruning: the network before and after, and what was taken out."""

from __future__ import annotations

from torch import nn

from onefold.batches import Data
from onefold.fold import PruneResult
from onefold.inference import OutputChoice
from onefold.report import Column, Report, Table, verdict
from onefold.report.blocks import Cell
from onefold.result_reports import scored as scoring_page
from onefold.result_reports.merges import add_layers
from onefold.result_reports.provenance import Fact, Provenance, seconds_facts
from onefold.result_reports.scored import candidate
from onefold.sources.class_names import class_names_of
from onefold.tasks.scoring import Scoring

PRUNED, BEFORE = "pruned", "before"


class PruneScored(scoring_page.Scored):
    """The scores of a network before and after pruning."""


def score_pruning(
    result: PruneResult[nn.Module],
    model: nn.Module,
    data: Data,
    *,
    output: OutputChoice = None,
    scoring: Scoring | None = None,
) -> PruneScored:
    """Score a network and what pruning made of it.

    Args:
        result: the pruning.
        model: the network before.
        data: labelled batches to score on.
        output: which output is scored.
        scoring: the task, metrics, and what decides; None tells the task from the data.
    """
    before = candidate(BEFORE, model, data, output=output, scoring=scoring)
    cost = result.report.factors["multiply-adds"]
    after = candidate(PRUNED, result.model, data, output=output, scoring=scoring, cost=cost)
    return PruneScored(
        (before, after),
        verdict(
            after._replace(name="The pruned network"), [before._replace(name="the network before")]
        ),
        PRUNED,
        class_names_of(data),
        "the pruned network",
    )


def report_pruning(
    result: PruneResult[nn.Module],
    scored: PruneScored | None = None,
    origin: Provenance | None = None,
) -> Report:
    """The report of a pruning, for people (`to_html`) and for machines (`to_json`)."""
    done, origin = result.report, origin or Provenance()
    told = scored.verdict if scored else "The pruned network was not scored."
    report = Report(title=f"{type(result.model).__name__}, pruned", summary=f"{done.text} {told}")
    if scored is not None:
        scored.told(report)
    columns = (
        Column(name="group"),
        Column(name="units before", unit="number"),
        Column(name="units after", unit="number"),
    )
    rows: list[tuple[Cell, ...]] = [(name, *counts) for name, counts in done.widths.items()]
    taken = report.section("What was taken out", folded=True)
    taken.table(Table(columns=columns, rows=tuple(rows)))
    add_layers(report.section("Least squares", folded=True), done.layers, done.averaged)
    section = report.section("What was done", folded=True)
    facts: dict[str, Fact] = {name: value for name, value in done.settings.items() if value}
    facts |= {f"{unit}, times before": round(f, 4) for unit, f in done.factors.items()}
    facts |= {"calibration examples": done.examples, **seconds_facts(done.seconds)}
    section.facts(origin.around(facts))
    for warning in done.warnings:
        section.text(f"Note: {warning}.")
    report.data = {
        **origin.data(),
        "pruning": done.to_dict(),
        "scores": {},
        **(scored.data() if scored else {}),
    }
    return report
