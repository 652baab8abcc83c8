"""The report of a soft merge, with scores of all that it must be compared with, and its gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from onefold.batches import Data
from onefold.errors import OnefoldError
from onefold.fold import Mixture, SoftResult, merge
from onefold.inference import OutputChoice
from onefold.report import Candidate, Column, Grid, Report, Section, Table, verdict
from onefold.report.score_words import marked
from onefold.result_reports import scored as scoring_page
from onefold.result_reports.provenance import Fact, Provenance, seconds_facts
from onefold.result_reports.scored import (
    best_of,
    candidate,
    evaluation,
    member_candidates,
    parameters_of,
)
from onefold.sources.class_names import class_names_of
from onefold.tasks.scoring import Scoring

RESULT = "soft merge"


@dataclass(frozen=True)
class SoftScored(scoring_page.Scored):
    """The scores of a soft merge.

    Attributes:
        notes: baselines that could not be had.
    """

    notes: tuple[str, ...] = ()


def score_soft_merge(
    result: SoftResult,
    models: Sequence[nn.Module],
    data: Data,
    *,
    output: OutputChoice = None,
    scoring: Scoring | None = None,
) -> SoftScored:
    """Score members, ensembles, plain average and the result.

    A member of non-finite outputs counts as wrong everywhere. If members were screened out, the
    result is compared with the ensemble and the average of those that are left: to beat an ensemble
    that a broken member has spoilt proves nothing.

    Args:
        result: the soft merge of the members.
        models: the members.
        data: labelled batches to score on.
        output: which output is scored.
        scoring: the task, metrics, and what decides; None tells the task from the data.
    """
    how: dict[str, Any] = {"output": output, "scoring": scoring}
    members, ensemble = member_candidates(models, data, output, scoring)
    left = [models[k] for k in result.soft.survivors]
    fewer, without = len(left) < len(models), ", without members that were screened out"
    baselines, rivals, notes = [], [], []
    if len(left) > 1:
        rival = ensemble._replace(name="the ensemble")
        if fewer:
            rival = _left(left, ensemble, data, **how)
            baselines.append(rival._replace(note=f"{rival.note}{without}"))
            rival = rival._replace(name=f"the ensemble of the {len(left)} members left")
        rivals.append(rival)
    try:
        average = merge(left, align="none", fold="average", repair="none").model
        note = "not aligned, not repaired" + without * fewer
        baselines.append(candidate("plain average", average, data, note, **how))
        rivals.append(baselines[-1]._replace(name="the plain average"))
    except OnefoldError as error:
        notes.append(f"the plain average cannot be had: {str(error).rstrip('.')}")
    note = f"{result.soft.level} level, {result.choice}"
    cost = parameters_of(result.model) / parameters_of(models[0])
    row = candidate(RESULT, result.model, data, note, cost=cost, **how)
    rivals.insert(0, best_of(members, "member"))
    return SoftScored(
        (*members, ensemble, *baselines, row),
        verdict(row._replace(name="The soft merge"), rivals),
        RESULT,
        class_names_of(data),
        "the soft merge",
        tuple(notes),
    )


def _left(
    left: Sequence[nn.Module],
    ensemble: Candidate,
    data: Data,
    output: OutputChoice,
    scoring: Scoring | None,
) -> Candidate:
    """The ensemble of the members that were not screened out."""
    return ensemble._replace(
        name=f"ensemble of {len(left)}",
        scores=evaluation(left, data, scoring, output).ensemble,
        parameters=sum(map(parameters_of, left)),
        cost=float(len(left)),
    )


def report_soft_merge(
    result: SoftResult, scored: SoftScored | None = None, origin: Provenance | None = None
) -> Report:
    """The report of a soft merge, for people (`to_html`) and for machines (`to_json`)."""
    origin, count = origin or Provenance(), result.gates.values.shape[1]
    chosen = "Nothing was held out."
    if result.scores:
        chosen = f"Of {count} members, the {result.choice} network was chosen on held-out examples."
    report = Report(
        title=f"{count} networks behind learned gates", summary=scored.verdict if scored else chosen
    )
    if scored is not None:
        scored.told(report)
    add_gates(report.section("Gates"), result)
    if result.scores:
        section = report.section("What was chosen", folded=True).table(choice_table(result))
        section.text(f"{chosen} {result.decision}")
    section = report.section("What was done", folded=True)
    section.facts(origin.around(_facts(result, scored)))
    for note in (*result.notes, *(scored.notes if scored else ())):
        section.text(f"Note: {note}.")
    report.data = {
        **origin.data(),
        "soft": result.to_dict(),
        "scores": {},
        **(scored.data() if scored else {}),
    }
    return report


def add_gates(section: Section, result: SoftResult) -> None:
    """The gates, shaded by their size, and what became of every member."""
    gates = result.gates
    members = tuple(f"member {k}" for k in range(gates.values.shape[1]))
    section.grid(
        Grid(
            corner="part",
            rows=tuple(gates.names),
            columns=members,
            values=tuple(map(tuple, gates.values.tolist())),
            high=1.0,
            caption="How much of each part comes from which member, from 0 to 1, without the noise"
            " of training.",
        )
    )
    section.facts({f"member {k}": fate for k, fate in gates.fates().items()})


def _facts(result: SoftResult, scored: SoftScored | None) -> dict[str, Fact]:
    """The examples, what was decided where something was left open, and the time it took."""
    reference = result.soft.reference
    mixtures = [m for m in result.model.modules() if isinstance(m, Mixture)]
    nothing: dict[str, Fact] = {} if result.scores else {"held-out data": "none"}
    return {
        **nothing,
        "examples learned from": result.examples.get("learned from", 0),
        "examples chosen on": result.examples.get("chosen on", 0),
        "evaluation examples": scored.examples if scored else 0,
        "align": aligned_by(result),
        "stochastic": result.soft.stochastic,
        "steps": len(result.losses),
        "reference": "none" if reference is None else f"member {reference}",
        "networks in the result": max((len(m.parts) for m in mixtures), default=1),
        **seconds_facts(result.seconds),
    }


def aligned_by(result: SoftResult) -> str:
    """The alignment that the gates worked in, whatever was asked for."""
    basis = result.soft.basis
    if basis is None:
        return "nothing, as whole networks are gated"
    return basis.alignment.method if basis.alignment else "none"


def choice_table(result: SoftResult) -> Table:
    """The candidates on the held-out examples, and what decided; the chosen one in bold."""
    assert result.decision is not None
    done, names = result.decision, list(result.scores)
    kind, unit = done.kind, done.loss.unit
    told = "loss at best temperature" if done.tempered else "loss"
    columns = (
        Column(name="network"),
        Column(name=kind.label, unit=kind.unit, digits=kind.digits, best=marked(kind)),
        Column(name=told, unit=unit, digits=4, best="lowest"),
        Column(name=f"loss on all {done.labelled} labelled", unit=unit, digits=4, best="lowest"),
        Column(name="candidate"),
        Column(name="near the top"),
    )
    rows = tuple(
        (
            name,
            kind.scale * result.scores[name].primary,
            result.held_out_losses[name],
            done.members.get(name),
            name in done.candidates,
            name in done.close,
        )
        for name in names
    )
    caption = f"On {done.examples} held-out examples; in bold what was chosen"
    return Table(
        columns=columns, rows=rows, caption=caption, emphasis=(names.index(result.choice),)
    )
