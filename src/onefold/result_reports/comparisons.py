"""The report of a comparison before a merge: whether one can pay, which, and the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onefold.comparison import Comparison
from onefold.comparison.rule import Evidence, Relation
from onefold.report import Column, Grid, Report, Table
from onefold.report.blocks import Cell
from onefold.result_reports.class_results import named
from onefold.result_reports.provenance import Fact

CLASSES = 40  # up to which the shares that are predicted are shown
VERDICTS = {
    Relation.ORIGIN: "These networks share an origin: average them without alignment.",
    Relation.DIFFERENT: "These networks know different classes: a fold can pay.",
    Relation.SAME: "These networks know the same classes: a fold to one network does not pay.",
    Relation.UNTOLD: "What these networks know cannot be told from their outputs.",
}


def report_comparison(
    found: Comparison, facts: Mapping[str, Fact], classes: Sequence[str] = ()
) -> Report:
    """The report of a comparison.

    Args:
        found: the comparison.
        facts: what was compared, and on what.
        classes: the names of the classes; () numbers them.
    """
    report = Report(
        title=f"{len(found.names)} networks compared",
        verdict=verdict_of(found),
        summary="\n\n".join(found.sentences),
        data=found.to_dict(),
    )
    section = report.section("What was found").text("\n\n".join(found.sentences))
    if found.evidence is not None:
        section.table(comparison_rows(found))
        _grids(report, found.evidence, found.sound, classes)
    report.section("What was done", folded=True).facts(facts)
    return report


def verdict_of(found: Comparison) -> str:
    """Whether a merge can pay, in one sentence."""
    if found.evidence is None:
        return "There is nothing to merge, as fewer than two networks are sound."
    return VERDICTS[found.evidence.relation]


def comparison_rows(found: Comparison) -> Table:
    """A row for every network that was compared; numbers have no shares of equal answers."""
    shares = (
        Column(name="answers as the ensemble", unit="%", digits=1),
        Column(name="answers as another", unit="%", digits=1),
    )
    columns = (
        Column(name="network"),
        *(shares if found.answered else ()),
        Column(name="from the ensemble", unit=found.unit, digits=3, best="lowest"),
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name, *(100 * share for share in (agree, others) if share is not None), off)
        for name, agree, others, off in found.rows()
    )
    return Table(columns=columns, rows=rows, caption=_caption(found))


def _caption(found: Comparison) -> str:
    seen = None if found.evidence is None else found.evidence.knowledge
    if seen is None or not found.answered:
        return "How far the outputs of a network are from the ensemble's."
    if seen.shares is None:
        return (
            "How often a network answers as the ensemble does and as another network does, on"
            " average, and how far its probabilities are from the ensemble's."
        )
    return (
        "How often a network predicts the class that the ensemble does and that another network"
        " does, on average, and how far its probabilities are from the ensemble's."
    )


def _grids(
    report: Report, evidence: Evidence, names: Sequence[str], classes: Sequence[str]
) -> None:
    """The agreement of every two networks, and the classes that each predicts."""
    seen = evidence.knowledge
    if seen.shares is not None and seen.shares.shape[1] <= CLASSES:
        report.section("What each predicts").grid(
            Grid(
                corner="network",
                rows=tuple(names),
                columns=tuple(named(k, classes) for k in range(seen.shares.shape[1])),
                values=tuple(tuple(100 * n for n in row) for row in seen.shares.tolist()),
                digits=1,
                caption="The share of every class among the predictions of a network, in percent:"
                " networks that know other classes predict other classes.",
            )
        )
    same = "predict the same class" if seen.task.classes else "answer the same"
    if seen.agreement is not None and len(names) > 2:
        report.section("How often they agree", folded=True).grid(
            Grid(
                corner="network",
                rows=tuple(names),
                columns=tuple(names),
                values=tuple(tuple(100 * n for n in row) for row in seen.agreement.tolist()),
                digits=1,
                high=100.0,
                caption=f"The share of the {'positions' if seen.dense else 'examples'}, in percent,"
                f" of which two networks {same}.",
            )
        )
