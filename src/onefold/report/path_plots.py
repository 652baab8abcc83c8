"""Plots of scores between networks: along lines, and over a triangle.

Each function returns a matplotlib Figure. `to_svg` and `to_png` of style.py turn it into text or
bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from onefold.errors import DataError
from onefold.measure import LinearPath, Triangle
from onefold.report.axes import check_some, color_bar
from onefold.report.blocks import Column, Table
from onefold.report.score_words import direction
from onefold.report.style import INK, color, legend, marker, new_figure, restyle
from onefold.tasks.answers import agreement_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def barrier_curves(paths: Mapping[str, LinearPath], *, agreement: bool = False) -> Figure:
    """The deciding score and the loss along several lines between two networks.

    The dashed line between the two ends is that of a path without a barrier.

    Args:
        paths: name of a line -> its scores.
        agreement: also draw how often each point answers as the first one does, where answers were
            kept.

    Raises:
        DataError: there is no path, or the paths have different losses.
    """
    check_some(paths, "path")
    losses = {path.loss_kind.name for path in paths.values()}
    if len(losses) > 1:
        raise DataError(
            f"The paths have different losses ({', '.join(sorted(losses))}); draw one figure for"
            " each."
        )
    shares = {name: agreement_along(path) for name, path in paths.items()}
    rows = 3 if agreement and all(shares.values()) else 2
    figure, axes = new_figure(2.5 * rows + 0.4 + 0.2 * len(paths), rows=rows, share_x=True)
    top, bottom = axes[:2]
    first = next(iter(paths.values()))
    for number, (name, path) in enumerate(paths.items()):
        _draw_path(top, bottom, number, name, path)
        if rows == 3:
            values = [100 * share for share in shares[name]]
            style: dict[str, Any] = {"marker": marker(number), "markersize": 4.5}
            axes[2].plot(path.positions, values, color=color(number), linewidth=1.8, **style)
    for one in axes[:-1]:
        one.tick_params(labelbottom=False)
    kind = first.scores[0].kind
    top.set_ylabel(f"{kind.heading}{direction(kind)}")
    bottom.set_ylabel(first.loss_kind.heading)
    if rows == 3:
        axes[2].set_ylabel("answers as the first (%)")
    axes[-1].set_xlabel("position on the line (0 = first network, 1 = second)")
    legend(top)
    return figure


def agreement_along(path: LinearPath) -> list[float]:
    """The share of equal answers of every point and the first; () if answers were not kept."""
    found = [agreement_of(path.scores[0].answers, one.answers) for one in path.scores]
    return [share for share in found if share is not None] if None not in found else []


def path_texts(paths: Mapping[str, LinearPath]) -> str:
    """The paths in words, for readers who do not see the picture: each one's barrier."""
    return "; ".join(f"{name}: {str(path).splitlines()[0]}" for name, path in paths.items())


def path_table(paths: Mapping[str, LinearPath]) -> Table:
    """The scores of the paths, point by point: what decides, the loss, and equal answers.

    There is no column of equal answers where no path has any.

    Raises:
        DataError: there is no path.
    """
    check_some(paths, "path")
    first = next(iter(paths.values()))
    kinds = list(dict.fromkeys([first.scores[0].kind, first.scores[0].loss_kind]))
    same = {name: agreement_along(path) for name, path in paths.items()}
    columns = (
        Column(name="line"),
        Column(name="position", digits=3),
        *(Column(name=kind.label, unit=kind.unit, digits=kind.digits) for kind in kinds),
        *([Column(name="answers as the first", unit="%", digits=2)] if any(same.values()) else []),
    )
    rows = tuple(
        (
            name,
            position,
            *(kind.scale * path.scores[k][kind.name] for kind in kinds),
            *([100 * same[name][k] if same[name] else None] if any(same.values()) else []),
        )
        for name, path in paths.items()
        for k, position in enumerate(path.positions)
    )
    return Table(columns=columns, rows=rows)


def triangle_map(
    triangle: Triangle, corners: tuple[str, str, str] = ("first", "second", "third")
) -> Figure:
    """Deciding score and loss over the triangle of three networks, a hexagon for each point.

    Where answers were kept, a third map shows how often each answers as the middle does.

    Args:
        triangle: the scores.
        corners: the names of the three networks.
    """
    centre = min(range(len(triangle.weights)), key=lambda k: max(triangle.weights[k]))
    middle = triangle.scores[centre].answers
    same = [agreement_of(middle, one.answers) for one in triangle.scores]
    first = triangle.scores[0]
    maps = {
        f"{kind.heading}{direction(kind) if kind == first.kind else ''}": [
            _finite(kind.scale * one[kind.name]) for one in triangle.scores
        ]
        for kind in dict.fromkeys([first.kind, first.loss_kind])
    }
    if None not in same:
        maps["answers as the middle (%)"] = [100 * (share or 0.0) for share in same]
    figure, _ = new_figure(4.1)
    figure.clear()
    for k, (label, values) in enumerate(maps.items()):
        axes = figure.add_subplot(1, len(maps), k + 1)
        _draw_triangle(figure, axes, triangle, values, (label, corners))
    return figure


def _draw_triangle(
    figure: Figure,
    axes: Axes,
    triangle: Triangle,
    values: Sequence[float],
    names: tuple[str, tuple[str, str, str]],
) -> None:
    """One map over the triangle; `names`: of the quantity and of the corners."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import RegularPolygon

    restyle(axes, grid="none")
    label, corners = names
    ends = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(0.75)]])
    points = np.asarray(triangle.weights) @ ends
    resolution = round(math.sqrt(2 * len(points) + 0.25) - 1.5)
    radius = 1 / (math.sqrt(3) * resolution)  # neighbours touch
    hexagons = [RegularPolygon((x, y), 6, radius=radius) for x, y in points]
    cells = PatchCollection(hexagons, cmap="viridis", linewidths=0.3, edgecolors="face")
    cells.set_array(np.asarray(values))
    axes.add_collection(cells)
    margin = radius + 0.09
    style: dict[str, Any] = {"ha": "center", "va": "center", "color": INK, "fontsize": 9}
    for name, (x, y) in zip(corners, ends, strict=True):
        axes.text(x, y + (margin if y > 0 else -margin), name, **style)
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(-margin - 0.05, 1 + margin + 0.05)
    axes.set_ylim(-margin - 0.05, math.sqrt(0.75) + margin + 0.05)
    color_bar(figure, axes, cells, label)


def _draw_path(top: Axes, bottom: Axes, number: int, name: str, path: LinearPath) -> None:
    """Draw the deciding scores of a path into `top`, its losses into `bottom`."""
    hue = color(number)
    style: dict[str, Any] = {
        "color": hue,
        "marker": marker(number),
        "markersize": 4.5,
        "linewidth": 1.8,
    }
    kind = path.scores[0].kind
    values = [_finite(kind.scale * scores.primary) for scores in path.scores]
    losses = [_finite(path.loss_kind.scale * value) for value in path.losses]
    dip = f"{kind.label} dip {kind.difference(path.dip).removeprefix('+')}"
    label = f"{name}: {dip}, barrier {_barrier_text(path)}"
    top.plot(path.positions, values, label=label, **style)
    bottom.plot(path.positions, losses, **style)
    dashed: dict[str, Any] = {"linestyle": (0, (3, 3)), "linewidth": 1, "alpha": 0.8}
    for axes, series in ((top, values), (bottom, losses)):
        axes.plot([0, 1], [series[0], series[-1]], color=hue, **dashed)


def _finite(number: float) -> float:
    """The number, or NaN, which is not drawn, in place of an infinite one."""
    return number if math.isfinite(number) else math.nan


def _barrier_text(path: LinearPath) -> str:
    return path.loss_kind.difference(path.barrier).removeprefix("+")


__all__ = ["barrier_curves", "path_table", "path_texts", "triangle_map"]
