"""The picture of what moves together along a network: one row for each group of features, one
column for each tensor, a mark where both meet.

Plain data in, a matplotlib Figure out. A row's band reaches from the first to the last tensor that
the group stands on, so that what lives in one layer is short and a residual stream is long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onefold.errors import DataError
from onefold.report.style import INK, MUTED, PALETTE, WIDTH, new_figure, restyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = {  # class of maps -> what the legend says, and its colour
    "permutation": ("permutations", PALETTE[0]),
    "dense": ("rotations or all invertible maps", PALETTE[1]),
    "folded": ("rotations, once scales are folded", PALETTE[4]),
    "indexed": ("a map for each head or block", PALETTE[2]),
}
PARTS = {  # what a tensor does for a group -> what the legend says, marker, filled, size
    "makes": ("makes the features", "s", True, 1.0),
    "reads": ("reads them", "o", False, 1.15),
    "scales": ("weighs them one by one", "D", True, 0.8),
    "table": ("holds or adds them", "^", True, 1.0),
    "beside": ("bias or norm", "|", False, 1.2),
    "other": ("plays several parts", "X", True, 1.0),
}
LABELLED = 64  # as many columns have their names written under them
LONGEST = 34  # letters of a name
ROW = 0.19  # inches


@dataclass(frozen=True)
class Lane:
    """A row: its name, how many features it has (as text), the class of its maps (a key of KINDS),
    and (column, part) marks.

    spans: the first and last column of each group, where several groups share the row.
    """

    name: str
    features: str
    kind: str
    marks: tuple[tuple[int, str], ...]
    spans: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Block:
    """A run of columns with a name of its own, from `first` to `last`."""

    name: str
    first: int
    last: int


@dataclass(frozen=True)
class Lanes:
    """Everything in the picture.

    `still`: columns of tensors that stay in place; `left_out`: a sentence on rows that are not
    shown.
    """

    columns: tuple[str, ...]
    lanes: tuple[Lane, ...]
    blocks: tuple[Block, ...] = ()
    still: tuple[int, ...] = ()
    left_out: str = ""


def group_lanes(lanes: Lanes) -> Figure:
    """Draw the rows over the columns.

    Raises:
        DataError: there is no column, or a kind, part or column is unknown.
    """
    _check(lanes)
    columns, rows = len(lanes.columns), len(lanes.lanes) + bool(lanes.still)
    labelled = columns <= LABELLED
    letters = max(len(_cut(name)) for name in lanes.columns) if labelled else 0
    size = min(7.5, max(5.0, 300 / columns))  # of names, in points
    height = (
        1.15
        + ROW * max(rows, 2)
        + letters * size * 0.62 / 72
        + 0.45 * bool(lanes.blocks)
        + 0.2 * bool(lanes.left_out)
    )
    figure, (axes,) = new_figure(height)
    restyle(axes, grid="x" if labelled else "none")
    _shade_blocks(axes, lanes.blocks, columns)
    mark = min(5.2, max(2.0, 240 / columns))
    for row, lane in enumerate(lanes.lanes):
        _draw(axes, row, lane, mark)
    if lanes.still:
        places = [len(lanes.lanes)] * len(lanes.still)
        axes.scatter(
            lanes.still, places, s=(0.8 * mark) ** 2, marker="x", color=MUTED, linewidths=1
        )
        axes.axhline(len(lanes.lanes) - 0.5, color=INK, alpha=0.3, linewidth=0.8)
    _label(axes, lanes, labelled, size)
    _legend(figure, lanes)
    return figure


def _check(lanes: Lanes) -> None:
    if not lanes.columns:
        raise DataError("There is no tensor to draw groups on; pass at least one column.")
    for lane in lanes.lanes:
        if lane.kind not in KINDS:
            raise DataError(
                f"Row '{lane.name}' has the unknown class of maps '{lane.kind}'; known:"
                f" {', '.join(KINDS)}."
            )
        if not lane.marks or any(
            part not in PARTS or not 0 <= column < len(lanes.columns) for column, part in lane.marks
        ):
            raise DataError(
                f"Row '{lane.name}' needs marks on columns 0 to {len(lanes.columns) - 1}, each one"
                f" of {', '.join(PARTS)}."
            )


def _draw(axes: Axes, row: int, lane: Lane, mark: float) -> None:
    """The band of a row and its marks."""
    shade = KINDS[lane.kind][1]
    places = [column for column, _ in lane.marks]
    for first, last in lane.spans or [(min(places), max(places))]:
        axes.barh(
            row,
            last - first + 0.84,
            left=first - 0.42,
            height=0.74,
            color=shade,
            alpha=0.2,
            linewidth=0,
        )
    for part, (_, marker, filled, scale) in PARTS.items():
        at = [column for column, own in lane.marks if own == part]
        if at:
            colours: dict[str, Any] = (
                {"color": shade}
                if filled or marker == "|"
                else {"facecolors": "none", "edgecolors": shade}
            )
            width = 0 if filled else min(1.3, 0.28 * mark)
            axes.scatter(
                at,
                [row] * len(at),
                s=(scale * mark) ** 2,
                marker=marker,
                linewidths=width,
                **colours,
            )


def _shade_blocks(axes: Axes, blocks: Sequence[Block], columns: int) -> None:
    """A faint ground behind every block, and its name above it: level where all names fit, else
    slanting.
    """
    unit = 0.66 * WIDTH * 72 / columns  # points in a column
    crowded = any(3.9 * len(block.name) > (block.last - block.first + 1) * unit for block in blocks)
    shaded = -1
    for block in blocks:
        if block.first > shaded + 1:  # of blocks side by side every second one
            axes.axvspan(block.first - 0.5, block.last + 0.5, color=INK, alpha=0.06, linewidth=0)
            shaded = block.last
        middle = (block.first + block.last) / 2
        style: dict[str, Any] = {"rotation": 20, "ha": "left"} if crowded else {"ha": "center"}
        axes.text(
            middle,
            1.01,
            _cut(block.name, 44),
            transform=axes.get_xaxis_transform(),
            va="bottom",
            fontsize=7,
            color=INK,
            **style,
        )


def _label(axes: Axes, lanes: Lanes, labelled: bool, size: float) -> None:
    names = [lane.name for lane in lanes.lanes] + ["in place"] * bool(lanes.still)
    axes.set_yticks(range(len(names)), [_cut(name, 24) for name in names])
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.set_xlim(-0.7, len(lanes.columns) - 0.3)
    right = axes.get_yaxis_transform()
    for row, text in enumerate([lane.features for lane in lanes.lanes] + [""] * bool(lanes.still)):
        axes.text(1.01, row, text, transform=right, va="center", fontsize=8, color=INK)
    if lanes.lanes:
        axes.text(1.01, -0.62, "features", transform=right, va="bottom", fontsize=8, color=INK)
    if labelled:
        axes.set_xticks(
            range(len(lanes.columns)),
            [_cut(name) for name in lanes.columns],
            rotation=90,
            fontsize=size,
        )
    else:
        axes.set_xticks([])
    axes.tick_params(axis="x", length=2)
    note = (
        ""
        if labelled
        else f"{len(lanes.columns)} tensors or layers, in the order in which the network uses them"
    )
    text = "\n".join(line for line in (note, lanes.left_out) if line)
    if text:
        axes.set_xlabel(text, fontsize=8, loc="left")


def _legend(figure: Figure, lanes: Lanes) -> None:
    """Colours and marks that occur, above the rows."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    kinds, parts = (
        {lane.kind for lane in lanes.lanes},
        {part for lane in lanes.lanes for _, part in lane.marks},
    )
    handles: list[Any] = [
        Patch(facecolor=shade, alpha=0.75, label=text)
        for kind, (text, shade) in KINDS.items()
        if kind in kinds
    ]
    for part, (text, marker, filled, scale) in PARTS.items():
        if part in parts:
            face = INK if filled else "none"
            style: dict[str, Any] = {
                "marker": marker,
                "markersize": 5.5 * scale,
                "markerfacecolor": face,
                "markeredgecolor": INK,
                "linestyle": "none",
            }
            handles.append(Line2D([], [], label=text, **style))
    if lanes.still:
        handles.append(
            Line2D(
                [],
                [],
                marker="x",
                markersize=5,
                color=MUTED,
                linestyle="none",
                label="stays in place",
            )
        )
    if handles:
        widths = [4.4 * len(handle.get_label()) + 32 for handle in handles]
        fitting = [n for n in (1, 2, 3, 4, 5) if _width(widths, n) < 72 * WIDTH]
        figure.legend(
            handles=handles,
            loc="outside upper left",
            ncols=max(fitting, default=1),
            frameon=False,
            labelcolor=INK,
            fontsize=8,
            handlelength=1.3,
            columnspacing=1.2,
        )


def _width(widths: Sequence[float], columns: int) -> float:
    """Of a legend with so many columns, which are filled one after the other."""
    rows = -(-len(widths) // columns)
    return sum(max(widths[first : first + rows]) for first in range(0, len(widths), rows))


def _cut(name: str, longest: int = LONGEST) -> str:
    """A long name without its middle."""
    return (
        name
        if len(name) <= longest
        else f"{name[: longest // 3]}…{name[len(name) - (longest - longest // 3 - 1) :]}"
    )
