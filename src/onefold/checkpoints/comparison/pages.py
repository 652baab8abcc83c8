"""The report of a comparison of checkpoints: the figures of every member, heat maps of layers."""

from __future__ import annotations

from collections.abc import Sequence

from onefold.checkpoints.comparison.results import CheckpointComparison, Matrix, mean_of
from onefold.report import Column, Grid, Report, Table
from onefold.report.blocks import Cell

MOST_LAYERS = 200  # rows of a heat map
MOST_TENSORS = 40  # of the table of the tensors that changed most
DARKEST = {3: 1.0, 1: 100.0}  # shades by decimals: cosines to 1, shares to 100 %
LISTED = 20  # names of tensors in a cell


def report_of(found: CheckpointComparison) -> Report:
    """The report: advice, members, layers as heat maps, tensors, and what else differs."""
    report = Report(
        title=f"{len(found.paths)} checkpoints compared",
        verdict=found.advice[0] if found.advice else found.heading,
        summary="\n\n".join((found.heading, *found.advice[1:])),
        data=found.to_dict(),
    )
    section = report.section("Members").table(members_table(found))
    members = found.members
    if len(members) > 1:
        section.grid(_matrix("cosine", members, found.total.cosines, 3))
        section.grid(_matrix("conflicts, %", members, _percent(found.total.conflicts), 1))
    _layers(report, found)
    _tensors(report, found)
    _differences(report, found)
    report.section("What was compared", folded=True).facts(dict(found.paths))
    return report


def members_table(found: CheckpointComparison) -> Table:
    """A row for each member, as in the terminal."""
    return Table(
        columns=tuple(Column(name=name) for name in found.headings),
        rows=tuple(tuple(row) for row in found.rows()),
        caption="The length of the task vector over that of the weights; the mean cosine with the"
        " task vectors of the others; the mean share of opposite signs among the largest changes.",
    )


def _matrix(corner: str, names: Sequence[str], values: Matrix, digits: int) -> Grid:
    captions = {
        3: "Cosines of task vectors: 1 the same direction, 0 unrelated, -1 opposite.",
        1: "Opposite signs among the places where the changes of both are large, in percent.",
    }
    return Grid(
        corner=corner,
        rows=tuple(names),
        columns=tuple(names),
        values=values,
        digits=digits,
        high=DARKEST[digits],
        caption=captions[digits],
    )


def _percent(values: Matrix) -> Matrix:
    return tuple(tuple(None if v is None else 100 * v for v in row) for row in values)


def _layers(report: Report, found: CheckpointComparison) -> None:
    layers = found.layers[:MOST_LAYERS]
    if not layers:
        return
    rows, names = tuple(layer.name for layer in layers), found.members
    section = report.section("Layers").grid(
        Grid(
            corner="layer",
            rows=rows,
            columns=names,
            values=_percent(tuple(layer.relative for layer in layers)),
            caption="The length of the task vector over that of the weights, in percent.",
        )
    )
    if len(names) > 1:
        for values, caption, digits in (
            (
                [[mean_of(row, k) for k, row in enumerate(one.cosines)] for one in layers],
                "The mean cosine of a member's task vector with those of the others.",
                3,
            ),
            (
                [
                    [mean_of(row, k) for k, row in enumerate(_percent(one.conflicts))]
                    for one in layers
                ],
                "The mean share of opposite signs among the largest changes, in percent.",
                1,
            ),
        ):
            section.grid(
                Grid(
                    corner="layer",
                    rows=rows,
                    columns=names,
                    values=tuple(map(tuple, values)),
                    caption=caption,
                    digits=digits,
                    high=DARKEST[digits],
                )
            )
    if len(found.layers) > MOST_LAYERS:
        section.text(f"{len(found.layers) - MOST_LAYERS} further layers are in the JSON form.")


def _tensors(report: Report, found: CheckpointComparison) -> None:
    largest = sorted(
        found.tensors, key=lambda one: -max((r for r in one.relative if r is not None), default=0.0)
    )
    columns = [
        Column(name="tensor"),
        *(Column(name=name, unit="%", digits=3) for name in found.members),
    ]
    report.section("Tensors that changed most", folded=True).table(
        columns,
        [
            (one.name, *(None if r is None else 100 * r for r in one.relative))
            for one in largest[:MOST_TENSORS]
        ],
        caption="The length of the task vector over that of the weights.",
    )


def _differences(report: Report, found: CheckpointComparison) -> None:
    differ, rows = found.differences, list[tuple[Cell, ...]]()
    for name, kinds in differ.dtypes.items():
        told = ", ".join(f"{kind}: {count}" for kind, count in kinds.items())
        rows.append(("dtypes", name, told))
    for what, by_name in (("lacks", differ.missing), ("also holds", differ.extra)):
        rows += [(what, name, _listed(names)) for name, names in by_name.items()]
    for tensor, shapes in differ.shapes.items():
        told = "; ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        rows.append(("shape", tensor, told))
    for key, values in differ.config.items():
        told = "; ".join(f"{name} {value}" for name, value in values.items())
        rows.append(("config.json", key, told))
    for one in differ.tokenizers:
        told = "; ".join(
            f"{name} {'none' if mark is None else mark[:12]}"
            + (f" ({one.tokens[name]:,} tokens)" if name in one.tokens else "")
            for name, mark in one.hashes.items()
        )
        rows.append(("tokenizer", one.file, told))
    for bad in found.non_finite:
        told = f"{bad.nans:,} NaN, {bad.infinite:,} infinite in {bad.file}"
        rows.append(("not finite", f"{bad.checkpoint}: {bad.tensor}", told))
    if rows:
        report.section("What else differs").table(["what", "where", "values"], rows)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
