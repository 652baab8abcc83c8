"""The report of a merge, with scores of everything that it must be compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from onefold.alignment import Alignment
from onefold.batches import Data
from onefold.ensemble import ClassPool
from onefold.fold import MergeReport, MergeResult, merge
from onefold.fold.distillation import TOLD
from onefold.inference import OutputChoice
from onefold.measure import LinearPath
from onefold.report import Candidate, Column, Report, Section, Table, verdict
from onefold.report.blocks import Cell
from onefold.report.score_words import points
from onefold.result_reports import scored as scoring_page
from onefold.result_reports.alignments import (
    add_alignment,
    add_barriers,
    add_groups,
    barriers,
    spectra,
)
from onefold.result_reports.provenance import Fact, Provenance, seconds_facts, written
from onefold.result_reports.scored import (
    best_of,
    candidate,
    evaluation,
    member_candidates,
    parameters_of,
    together,
)
from onefold.sources.class_names import class_names_of
from onefold.tasks.scoring import Scoring

FOLD = "folded"


@dataclass(frozen=True)
class MergeScored(scoring_page.Scored):
    """The scores of a merge.

    Attributes:
        paths: barriers between the first two members, by name.
    """

    paths: Mapping[str, LinearPath] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """The scores and the barriers as plain data."""
        paths = {name: path.to_dict() for name, path in self.paths.items()}
        return super().data() | {"barriers": paths}


def score_merge(
    result: MergeResult[nn.Module],
    models: Sequence[nn.Module],
    data: Data,
    *,
    calibration: Data | None = None,
    budgets: Mapping[str, MergeResult[nn.Module]] | None = None,
    output: OutputChoice = None,
    scoring: Scoring | None = None,
) -> MergeScored:
    """Score members, ensemble, plain average, mapped members, folds to budgets and the fold.

    Args:
        result: the merge of the members.
        models: the members.
        data: labelled batches to score on.
        calibration: batches to re-estimate batch-norm statistics on; given, the barrier of the
            first two members is measured, too.
        budgets: further folds by their budgets.
        output: which output is scored.
        scoring: the task, metrics, and what decides; None tells the task from the data.
    """
    how: dict[str, Any] = {"output": output, "scoring": scoring}
    members, ensemble = member_candidates(models, data, output, scoring)
    weights = result.report.weights
    plain = merge(models, align="none", fold="average", repair="none", weights=weights).model
    average = candidate("plain average", plain, data, "not aligned, not repaired", **how)
    alignments = [result.alignment] if result.alignment else []
    mapped = [row for one in alignments for row in mapped_candidates(models, one, data, **how)]
    fold = _folded(result, len(models), data, **how)
    best = best_of(members, "member")
    rivals = [
        best,
        ensemble._replace(name="the ensemble"),
        average._replace(name="the plain average"),
    ]
    number = [row.scores for row in members].index(best.scores)
    pooled = pooled_candidates(models, result.report, data, number, **how)
    names = ("the ensemble by class", "the best member, balanced")
    rivals += [row._replace(name=name) for row, name in zip(pooled, names, strict=False)]
    dial = [_budgeted(name, one, data, **how) for name, one in (budgets or {}).items()]
    return MergeScored(
        (*members, ensemble, *pooled, average, *mapped, *dial, fold),
        verdict(fold._replace(name="The fold"), rivals),
        FOLD,
        class_names_of(data),
        "the fold",
        barriers(models, alignments, data, calibration, **how) if calibration is not None else {},
    )


def pooled_candidates(
    models: Sequence[nn.Module],
    done: MergeReport,
    data: Data,
    best: int,
    output: OutputChoice = None,
    scoring: Scoring | None = None,
) -> list[Candidate]:
    """Rows for the pool of classes that was aimed at, if one was: all members, and the best alone.

    Classifiers alone have pools. The best member is shifted to the same classes by itself.
    """
    found = done.folded.get("classes") or done.polished.get("classes")
    if found is None:
        return []
    pool, size, count = ClassPool.from_dict(found), parameters_of(models[0]), len(models)
    how = "is estimated to have seen" if pool.estimated else "saw"
    note = f"each member weighed on a class by how much it {how} of it"
    scored = evaluation(models, data, scoring, output, pool).ensemble
    alone = evaluation([models[best]], data, scoring, output, pool.only(best)).ensemble
    shifted = "its answers shifted to the classes of the data"
    return [
        together(f"ensemble of {count}, by class", scored, size, count, note),
        Candidate(f"member {best}, balanced", alone, size, 1.0, shifted),
    ]


def mapped_candidates(
    models: Sequence[nn.Module],
    alignment: Alignment,
    data: Data,
    output: OutputChoice = None,
    scoring: Scoring | None = None,
) -> list[Candidate]:
    """A row for each mapped member alone, which shows what its map costs.

    Permutations cost nothing, dense maps do.
    """
    note = f"to member {alignment.reference}, alone"
    return [
        candidate(
            f"member {k}, mapped", model, data, note, output=output, scoring=scoring
        )._replace(kind="mapped")
        for k, model in enumerate(alignment.each(models))
        if k != alignment.reference
    ]


def _folded(
    result: MergeResult[nn.Module],
    count: int,
    data: Data,
    output: OutputChoice,
    scoring: Scoring | None,
) -> Candidate:
    done, cost = result.report, 1.0
    note = f"align {done.align}, fold {done.fold}, repair {done.repair}"
    if factors := done.folded.get("factors"):
        cost = factors["multiply-adds"]
    if partial := done.folded.get("partial"):
        note, costs = f"{note}, up to '{partial['until']}'", partial["costs"]
        one = costs["one"]["multiply_adds"]
        cost = costs["partial"]["multiply_adds"] / one if one else float(count)
    return candidate(FOLD, result.model, data, note, output=output, cost=cost, scoring=scoring)


def _budgeted(
    budget: str,
    result: MergeResult[nn.Module],
    data: Data,
    output: OutputChoice,
    scoring: Scoring | None,
) -> Candidate:
    cost = result.report.folded["factors"]["multiply-adds"]
    kept = {"member": "one member whole", "units": "units of all"}[result.report.folded["keep"]]
    note = f"least squares, {kept}{', polished' * bool(result.report.polished)}"
    name = f"folded to {budget}"
    return candidate(name, result.model, data, note, output=output, cost=cost, scoring=scoring)


def report_merge(
    result: MergeResult[nn.Module],
    scored: MergeScored | None = None,
    origin: Provenance | None = None,
) -> Report:
    """The report of a merge, for people (`to_html`) and for machines (`to_json`)."""
    done, origin = result.report, origin or Provenance()
    report = Report(
        title=f"{done.members} networks folded into one",
        summary=" ".join([*done.chosen, scored.verdict if scored else "The fold was not scored."]),
    )
    if scored is not None:
        scored.told(report)
    if done.chosen:
        report.section("Why this fold", folded=True).text("\n\n".join(done.chosen))
    if scored is not None and scored.paths:
        add_barriers(report.section("Between two members", folded=True), scored.paths)
    if found := done.folded.get("classes") or done.polished.get("classes"):
        pool = ClassPool.from_dict(found)
        add_shares(report.section("What the members saw of the classes", folded=True), pool)
    if layers := done.folded.get("layers"):
        section = report.section("Least squares", folded=True)
        add_layers(section, layers, done.folded.get("averaged", {}))
    if result.alignment is not None:
        section = report.section("Alignment", folded=True)
        add_alignment(section, result.alignment)
        mapped = [row for row in scored.candidates if row.kind == "mapped"] if scored else []
        if mapped:
            add_mapped(section, mapped)
        add_groups(report.section("What moves together", folded=True), result.alignment.spec)
    section = report.section("What was done", folded=True)
    section.facts(origin.around(_facts(done, scored)))
    for warning in done.warnings:
        section.text(f"Note: {warning}.")
    report.data = {
        **origin.data(),
        "merge": done.to_dict(),
        "scores": {},
        "barriers": {},
        **(scored.data() if scored else {}),
        "spectra": spectra(result.alignment) if result.alignment else {},
    }
    return report


def add_mapped(section: Section, rows: Sequence[Candidate]) -> None:
    """What the maps cost the members: their scores once they are written into the weights."""
    kind, loss = rows[0].scores.kind, rows[0].scores.loss_kind
    columns = (
        Column(name="network"),
        Column(name=kind.label, unit=kind.unit, digits=kind.digits),
        Column(name="standard error", unit=points(kind), digits=kind.digits, part="error"),
        *([Column(name=loss.label, unit=loss.unit, digits=3)] if loss != kind else []),
    )
    cells: list[tuple[Cell, ...]] = [
        (
            row.name,
            kind.scale * row.scores.primary,
            kind.scale * row.scores.error,
            *([row.scores.loss] if loss != kind else []),
        )
        for row in rows
    ]
    section.table(
        columns,
        cells,
        caption="Every member alone, once its features are brought into the order or basis of the"
        " reference. A permutation leaves its answers as they were, a dense map changes some.",
    )


def _facts(done: MergeReport, scored: MergeScored | None) -> dict[str, Fact]:
    """The settings of every step, the examples it read, and the time it took."""
    partial, polished = done.folded.get("partial"), done.polished
    facts: dict[str, Fact] = {"calibration examples": done.examples}
    facts |= {f"examples for {step}": count for step, count in done.used.items()}
    facts |= {"evaluation examples": scored.examples if scored else 0, "align": done.align}
    common = done.reference is None
    facts["reference"] = "a common basis" if common else f"member {done.reference}"
    facts["fold"] = done.fold
    facts |= {"fold that was chosen": done.folded["choice"]} if "choice" in done.folded else {}
    facts |= {"units that were kept": done.folded["keep"]} if "keep" in done.folded else {}
    if partial:
        facts["merged up to"] = partial["until"]
        facts["merged share of the layers (%)"] = 100 * partial["share"]
    facts |= {"repair": done.repair, "polish (passes)": polished.get("passes", 0)}
    told = (*TOLD, "steps", "estimated_seconds") if polished else ()
    facts |= {f"polish: {name.replace('_', ' ')}": written(polished[name]) for name in told}
    for step in ("align", "fold"):
        settings = done.settings.get(step) or {}
        facts |= {f"{step}: {name}": written(value) for name, value in settings.items()}
    facts |= {
        "members' shares": ", ".join(f"{weight:.3g}" for weight in done.weights),
        "parameters of a member": done.parameters,
        "parameters in a live group (%)": 100 * done.coverage,
        "feature spaces between layers that can move": f"{done.moving_spaces} of {done.spaces}",
    }
    return facts | seconds_facts(done.seconds) | {"seed": done.settings.get("seed")}


def add_shares(section: Section, pool: ClassPool) -> None:
    """How much each member saw of each class, the errors of that, and doubts about members."""
    kinds = {"member": pool.seen}
    if pool.errors is not None:
        kinds["standard error of member"] = pool.errors
    columns = [Column(name="class")]
    rows: list[list[float]] = [[number] for number in range(pool.seen.shape[1])]
    for title, values in kinds.items():
        columns += [Column(name=f"{title} {k}", digits=3) for k in range(len(values))]
        rows = [row + more for row, more in zip(rows, values.T.tolist(), strict=True)]
    estimated = f"Estimated from predictions on {pool.examples} examples, not counted"
    origin = estimated if pool.estimated else "Counted"
    section.table(columns, rows, caption=f"{origin}; shares of what a member was trained on")
    if pool.estimated:
        section.text(
            "The estimates are right for members whose confidence means what it says. The errors"
            " are those of the draw of examples alone."
        )
    for doubt in pool.doubts:
        section.text(f"Note: {doubt}.")


def add_layers(
    section: Section, layers: Sequence[Mapping[str, float | str]], averaged: Mapping[str, str]
) -> None:
    """The layers that least squares solved, and the weights that it left as the aligned average."""
    columns = (
        Column(name="weights"),
        Column(name="rows", unit="number"),
        Column(name="ridge, relative", digits=4),
        Column(name="drawn to"),
        Column(name="target explained, held out", digits=3),
    )
    rows = [
        (one["weights"], one["rows"], one["ridge"], one["prior"], one["explained"])
        for one in layers
    ]
    section.table(
        Table(columns=columns, rows=tuple(rows)),
        caption="Layers solved by least squares, in the order of the graph",
    )
    if averaged:
        section.text(
            "These keep the aligned average:"
            f" {', '.join(f'{name} ({why})' for name, why in averaged.items())}."
        )
