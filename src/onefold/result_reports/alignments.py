"""Sections on an alignment: its groups, their correlations, and the barriers before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from torch import nn

from onefold.alignment import Alignment
from onefold.batches import Data
from onefold.batchnorm import norms_of
from onefold.inference import OutputChoice
from onefold.measure import LinearPath, barrier
from onefold.report import (
    Column,
    Picture,
    Report,
    Section,
    Table,
    alignment_overview,
    barrier_curves,
    correlation_spectra,
    group_lanes,
    path_table,
    path_texts,
    to_svg,
)
from onefold.report.style import can_draw
from onefold.report.symmetry_picture import lanes_of
from onefold.result_reports.provenance import Fact, Provenance, seconds_facts, settings_facts
from onefold.symmetry import SymmetrySpec
from onefold.tasks.scoring import Scoring


def barriers(
    models: Sequence[nn.Module],
    alignments: Sequence[Alignment],
    data: Data,
    calibration: Data | None,
    output: OutputChoice = None,
    scoring: Scoring | None = None,
) -> dict[str, LinearPath]:
    """The barrier between the first two members, before alignment and after each.

    Batch-norm statistics are re-estimated if there are any.
    """
    asked = scoring or Scoring()

    def line(first: nn.Module, second: nn.Module) -> LinearPath:
        again: dict[str, Any] = {"recalibrate": "batchnorm", "calibration_data": calibration}
        settings = again if calibration is not None and norms_of(first) else {}
        return barrier(
            first,
            second,
            data,
            output=output,
            task=asked.task,
            metrics=asked.metrics,
            by=asked.by,
            bins=asked.bins.bins,
            binning=asked.bins.binning,
            **settings,
        )

    paths = {"as trained": line(models[0], models[1])}
    for alignment in alignments:
        paths[f"aligned by {alignment.method}"] = line(*islice(alignment.each(models), 2))
    return paths


def report_alignment(
    alignment: Alignment, names: Sequence[str] = (), origin: Provenance | None = None
) -> Report:
    """The report of an alignment.

    Args:
        alignment: the alignment.
        names: of the members; () numbers them.
        origin: what went in.
    """
    rows = alignment.table()
    aim = "a common basis" if alignment.reference is None else f"member {alignment.reference}"
    report = Report(
        title=f"{alignment.members} networks aligned by {alignment.method}", verdict=_matched(rows)
    )
    means = group_means(alignment, names)
    if means and any(means.values()) and can_draw():
        told = "; ".join(f"{row['group']} {row['mean correlation']:.2f}" for row in rows)
        report.picture = Picture(
            svg=to_svg(alignment_overview(means), "overview"),
            caption="Mean correlation of the matched features of every group, along the network"
            " from top to bottom. At 1 two members have the same features.",
            description=f"Mean correlations by group: {told}.",
        )
    add_alignment(report.section("Groups of features"), alignment)
    add_groups(report.section("What moves together", folded=True), alignment.spec)
    origin = origin or Provenance()
    facts: dict[str, Fact] = {
        "matcher": alignment.method,
        "mapped to": aim,
        "calibration examples": alignment.examples,
        **{f"member {k}": name for k, name in enumerate(names)},
        **settings_facts(alignment.settings),
        **seconds_facts(alignment.seconds),
    }
    section = report.section("What was done", folded=True).facts(origin.around(facts))
    for warning in alignment.warnings:
        section.text(f"Note: {warning}.")
    report.data = {"groups": rows, "spectra": spectra(alignment), **origin.data()}
    return report


def group_means(alignment: Alignment, names: Sequence[str] = ()) -> dict[str, dict[str, float]]:
    """Member -> group -> mean correlation; the reference and groups in place are left out."""
    return {
        names[k] if names else f"member {k}": {
            group: float(scores[k].mean())
            for group, scores in alignment.scores.items()
            if alignment.matchers[group] != "identity"
        }
        for k in range(alignment.members)
        if k != alignment.reference
    }


def _matched(rows: Sequence[Mapping[str, Any]]) -> str:
    moved = [row for row in rows if row["matcher"] != "identity"]
    if not moved:
        return "No feature was moved: every group stays in place."
    count = sum(row["features"] for row in moved)
    mean = sum(row["features"] * row["mean correlation"] for row in moved) / count
    worst = min(moved, key=lambda row: row["mean correlation"])
    weakest = f", weakest in {worst['group']} ({worst['mean correlation']:.2f})" * (len(moved) > 1)
    return (
        f"{count:,} features in {len(moved)} groups were matched with a mean correlation of"
        f" {mean:.2f}{weakest}."
    )


def add_alignment(section: Section, alignment: Alignment) -> None:
    """The table of groups, and the spectra of their correlations."""
    section.table(
        alignment_table(alignment), caption="Groups of features that were mapped together"
    )
    if values := spectra(alignment):
        dense = any(m.kind == "dense" for maps in alignment.maps.values() for m in maps)
        kind = "canonical correlations" if dense else "correlations of matched features"
        section.picture(
            lambda: correlation_spectra(values),
            f"The {kind}, averaged over the mapped members: how much of each group the members"
            " share.",
            f"One spectrum for each of {len(values)} groups, sorted downwards from 1.",
        )


def add_groups(section: Section, spec: SymmetrySpec) -> None:
    """The picture of all groups along the network."""
    lanes = lanes_of(spec)
    section.picture(
        lambda: group_lanes(lanes),
        "The groups of features along the network, its tensors in the order of their use. The map"
        " of a group acts on all tensors that have a mark in its row at once, and the network"
        " computes what it did.",
        f"{len(spec.groups)} groups cover {100 * spec.coverage:.1f} % of {spec.parameters:,}"
        f" parameters, and {sum(bool(s.groups) for s in spec.spaces)} of {len(spec.spaces)} feature"
        " spaces between layers can move; the longest stands on"
        f" {max((len(group.slots) for group in spec.groups), default=0)} axes.",
        zoom=True,
    )


def alignment_table(alignment: Alignment) -> Table:
    """`Alignment.table` with names and units; notes only where there are any."""
    columns = [
        Column(name="group"),
        Column(name="features"),
        Column(name="matcher"),
        Column(name="read at"),
        Column(name="mean correlation", digits=3),
        Column(name="least correlation", digits=3),
        Column(name="condition number", digits=1),
        Column(name="note"),
    ]
    rows = [tuple(row.values()) for row in alignment.table()]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return Table(columns=tuple(columns), rows=tuple(rows))


def add_barriers(section: Section, paths: Mapping[str, LinearPath]) -> None:
    """Barrier curves between the first two members."""
    again = (
        ", batch-norm statistics re-estimated at every point"
        if next(iter(paths.values())).recalibrated
        else ""
    )
    section.picture(
        lambda: barrier_curves(paths),
        f"The straight line between the weights of member 0 and member 1{again}. A barrier is where"
        " it is worse than its ends.",
        path_texts(paths),
        numbers=path_table(paths),
    )


def spectra(alignment: Alignment) -> dict[str, list[float]]:
    """Group -> correlations, best first, averaged over the mapped members.

    Groups that stayed in place are left out.
    """
    others = [k for k in range(alignment.members) if k != alignment.reference]
    return {
        group: [
            float(value) for value in scores[others].sort(dim=1, descending=True).values.mean(0)
        ]
        for group, scores in alignment.scores.items()
        if alignment.matchers[group] != "identity"
    }
