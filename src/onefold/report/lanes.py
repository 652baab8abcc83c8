"""The picture of the symmetries of a network: which tensors a group of features belongs to.

There is one row for each group, one column for each tensor, and a mark if the group is on an axis
of the tensor. The input is plain data, the output a matplotlib Figure. A row's band reaches from
the group's first tensor to its last one: it is short for the features of one layer, and long for a
residual stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onefold.errors import DataError
from onefold.report.axes import shortened
from onefold.report.style import INK, MUTED, PALETTE, WIDTH, new_figure, restyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = {  # class of maps -> its words in the legend, and its colour
    "permutation": ("permutations", PALETTE[0]),
    "dense": ("rotations or all invertible maps", PALETTE[1]),
    "folded": ("rotations, once scales are folded", PALETTE[4]),
    "indexed": ("a map for each head or block", PALETTE[2]),
}
PARTS = {  # the part of a tensor in a group -> its words in the legend, marker, filled, size
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
    """A row of the picture.

    Attributes:
        name: its name.
        features: its number of features, as text.
        kind: the class of its maps, a key of KINDS.
        marks: (column, part) for each mark; the part is a key of PARTS.
        spans: the first and last column of each group, if several groups share the row.
    """

    name: str
    features: str
    kind: str
    marks: tuple[tuple[int, str], ...]
    spans: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Block:
    """A run of columns with a name.

    Attributes:
        name: the name.
        first: its first column.
        last: its last column.
    """

    name: str
    first: int
    last: int


@dataclass(frozen=True)
class Lanes:
    """The content of the picture.

    Attributes:
        columns: the names of the columns.
        lanes: the rows from top to bottom.
        blocks: runs of columns that are shaded and named.
        still: the columns of tensors that stay as they are.
        left_out: a sentence on rows that are not shown, or "".
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
    letters = max(len(shortened(name, LONGEST)) for name in lanes.columns) if labelled else 0
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
        below = [len(lanes.lanes)] * len(lanes.still)
        axes.scatter(lanes.still, below, s=(0.8 * mark) ** 2, marker="x", color=MUTED, linewidths=1)
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
    columns = [column for column, _ in lane.marks]
    band: dict[str, Any] = {"height": 0.74, "color": shade, "alpha": 0.2, "linewidth": 0}
    for first, last in lane.spans or [(min(columns), max(columns))]:
        axes.barh(row, last - first + 0.84, left=first - 0.42, **band)
    for part, (_, marker, filled, scale) in PARTS.items():
        at = [column for column, own in lane.marks if own == part]
        if not at:
            continue
        style: dict[str, Any] = {"facecolors": "none", "edgecolors": shade}
        if filled or marker == "|":
            style = {"color": shade}
        width = 0 if filled else min(1.3, 0.28 * mark)
        size = (scale * mark) ** 2
        axes.scatter(at, [row] * len(at), s=size, marker=marker, linewidths=width, **style)


def _shade_blocks(axes: Axes, blocks: Sequence[Block], columns: int) -> None:
    """Shade the columns of every block, and write its name above them.

    Names are level if all fit, else slanting. Of blocks side by side every second one is shaded.
    """
    unit = 0.66 * WIDTH * 72 / columns  # points in a column
    crowded = any(3.9 * len(block.name) > (block.last - block.first + 1) * unit for block in blocks)
    shaded = -1
    for block in blocks:
        if block.first > shaded + 1:
            axes.axvspan(block.first - 0.5, block.last + 0.5, color=INK, alpha=0.06, linewidth=0)
            shaded = block.last
        middle = (block.first + block.last) / 2
        style: dict[str, Any] = {"rotation": 20, "ha": "left"} if crowded else {"ha": "center"}
        axes.text(
            middle,
            1.01,
            shortened(block.name, 44),
            transform=axes.get_xaxis_transform(),
            va="bottom",
            fontsize=7,
            color=INK,
            **style,
        )


def _label(axes: Axes, lanes: Lanes, labelled: bool, size: float) -> None:
    """Write the names and sizes of the rows, the names of the columns, and the notes below."""
    names = [lane.name for lane in lanes.lanes] + ["in place"] * bool(lanes.still)
    axes.set_yticks(range(len(names)), [shortened(name, 24) for name in names])
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.set_xlim(-0.7, len(lanes.columns) - 0.3)
    style: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "fontsize": 8, "color": INK}
    for row, text in enumerate([lane.features for lane in lanes.lanes] + [""] * bool(lanes.still)):
        axes.text(1.01, row, text, va="center", **style)
    if lanes.lanes:
        axes.text(1.01, -0.62, "features", va="bottom", **style)
    count, note = len(lanes.columns), ""
    if labelled:
        short = [shortened(name, LONGEST) for name in lanes.columns]
        axes.set_xticks(range(count), short, rotation=90, fontsize=size)
    else:
        axes.set_xticks([])
        note = f"{count} tensors or layers, in the order in which the network uses them"
    axes.tick_params(axis="x", length=2)
    text = "\n".join(line for line in (note, lanes.left_out) if line)
    if text:
        axes.set_xlabel(text, fontsize=8, loc="left")


def _legend(figure: Figure, lanes: Lanes) -> None:
    """Explain the colours and marks that occur, above the rows."""
    handles = _handles(lanes)
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


def _handles(lanes: Lanes) -> list[Any]:
    """The artists of the legend, with their labels."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    kinds = {lane.kind for lane in lanes.lanes}
    parts = {part for lane in lanes.lanes for _, part in lane.marks}
    handles: list[Any] = [
        Patch(facecolor=shade, alpha=0.75, label=text)
        for kind, (text, shade) in KINDS.items()
        if kind in kinds
    ]
    for part, (text, marker, filled, scale) in PARTS.items():
        if part in parts:
            style: dict[str, Any] = {
                "marker": marker,
                "markersize": 5.5 * scale,
                "markerfacecolor": INK if filled else "none",
                "markeredgecolor": INK,
                "linestyle": "none",
            }
            handles.append(Line2D([], [], label=text, **style))
    if lanes.still:
        cross: dict[str, Any] = {"marker": "x", "markersize": 5, "color": MUTED}
        handles.append(Line2D([], [], linestyle="none", label="stays in place", **cross))
    return handles


def _width(widths: Sequence[float], columns: int) -> float:
    """The width of a legend with so many columns, which are filled one after the other."""
    rows = -(-len(widths) // columns)
    return sum(max(widths[first : first + rows]) for first in range(0, len(widths), rows))
