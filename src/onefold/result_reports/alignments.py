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
    Section,
    Table,
    barrier_curves,
    correlation_spectra,
    group_lanes,
    path_texts,
)
from onefold.report.symmetry_picture import lanes_of
from onefold.symmetry import SymmetrySpec


def barriers(
    models: Sequence[nn.Module],
    alignments: Sequence[Alignment],
    data: Data,
    calibration: Data | None,
    output: OutputChoice = None,
) -> dict[str, LinearPath]:
    """The barrier between the first two members, before alignment and after each.

    Batch-norm statistics are re-estimated if there are any.
    """

    def line(first: nn.Module, second: nn.Module) -> LinearPath:
        again: dict[str, Any] = {"recalibrate": "batchnorm", "calibration_data": calibration}
        settings = again if calibration is not None and norms_of(first) else {}
        return barrier(first, second, data, output=output, **settings)

    paths = {"as trained": line(models[0], models[1])}
    for alignment in alignments:
        paths[f"aligned by {alignment.method}"] = line(*islice(alignment.each(models), 2))
    return paths


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
    )


def alignment_table(alignment: Alignment) -> Table:
    """`Alignment.table` with names and units; notes only where there are any."""
    columns = [
        Column(name="group"),
        Column(name="features", unit="number"),
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
