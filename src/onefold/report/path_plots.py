"""Plots of scores between networks: along lines, and over a triangle.

Each function returns a matplotlib Figure. `to_svg` and `to_png` of style.py turn it into text or
bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from onefold.errors import DataError
from onefold.measure.path import LOSSES, LinearPath, Triangle
from onefold.report.axes import check_some, color_bar
from onefold.report.style import INK, color, legend, marker, new_figure, restyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSS_LABELS = dict(zip(LOSSES, ("NLL (nats)", "Brier score (0 to 2)", "error (%)"), strict=True))


def barrier_curves(paths: Mapping[str, LinearPath]) -> Figure:
    """Accuracy and loss along several lines between two networks.

    The dashed line between the two ends is that of a path without a barrier.

    Args:
        paths: name of a line -> its scores.

    Raises:
        DataError: there is no path, or the paths have different losses.
    """
    check_some(paths, "path")
    losses = {path.loss for path in paths.values()}
    if len(losses) > 1:
        raise DataError(
            f"The paths have different losses ({', '.join(sorted(losses))}); draw one figure for"
            " each."
        )
    figure, (top, bottom) = new_figure(5.4 + 0.2 * len(paths), rows=2, share_x=True)
    for number, (name, path) in enumerate(paths.items()):
        _draw_path(top, bottom, number, name, path)
    top.tick_params(labelbottom=False)
    top.set_ylabel("accuracy (%)")
    bottom.set_ylabel(LOSS_LABELS[losses.pop()])
    bottom.set_xlabel("position on the line (0 = first network, 1 = second)")
    legend(top)
    return figure


def path_texts(paths: Mapping[str, LinearPath]) -> str:
    """The paths in words, for readers who do not see the picture: each one's barrier."""
    return "; ".join(f"{name}: {str(path).splitlines()[0]}" for name, path in paths.items())


def triangle_map(
    triangle: Triangle, corners: tuple[str, str, str] = ("first", "second", "third")
) -> Figure:
    """Accuracy over the triangle of three networks, one hexagon for each network that was scored.

    Args:
        triangle: the scores.
        corners: the names of the three networks.
    """
    figure, (axes,) = new_figure(5.4)
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import RegularPolygon

    restyle(axes, grid="none")
    weights = np.asarray(triangle.weights)
    ends = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(0.75)]])
    points = weights @ ends
    accuracy = np.array([100 * scores.accuracy for scores in triangle.scores])
    resolution = round(math.sqrt(2 * len(points) + 0.25) - 1.5)
    radius = 1 / (math.sqrt(3) * resolution)  # neighbours touch
    hexagons = [RegularPolygon((x, y), 6, radius=radius) for x, y in points]
    cells = PatchCollection(hexagons, cmap="viridis", linewidths=0.3, edgecolors="face")
    cells.set_array(accuracy)
    axes.add_collection(cells)
    margin = radius + 0.07
    style: dict[str, Any] = {"ha": "center", "va": "center", "color": INK, "fontsize": 10}
    for name, (x, y) in zip(corners, ends, strict=True):
        axes.text(x, y + (margin if y > 0 else -margin), name, **style)
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(-margin - 0.05, 1 + margin + 0.05)
    axes.set_ylim(-margin - 0.05, math.sqrt(0.75) + margin + 0.05)
    color_bar(figure, axes, cells, "accuracy (%)")
    return figure


def _draw_path(top: Axes, bottom: Axes, number: int, name: str, path: LinearPath) -> None:
    """Draw the accuracies of a path into `top`, its losses into `bottom`."""
    hue = color(number)
    style: dict[str, Any] = {
        "color": hue,
        "marker": marker(number),
        "markersize": 4.5,
        "linewidth": 1.8,
    }
    accuracies = [100 * scores.accuracy for scores in path.scores]
    losses = [value if math.isfinite(value) else np.nan for value in path.losses]
    if path.loss == "error":
        losses = [100 * value for value in losses]
    dip = f"accuracy dip {100 * path.accuracy_dip:.1f} points"
    label = f"{name}: {dip}, barrier {_barrier_text(path)}"
    top.plot(path.positions, accuracies, label=label, **style)
    bottom.plot(path.positions, losses, **style)
    dashed: dict[str, Any] = {"linestyle": (0, (3, 3)), "linewidth": 1, "alpha": 0.8}
    for axes, series in ((top, accuracies), (bottom, losses)):
        axes.plot([0, 1], [series[0], series[-1]], color=hue, **dashed)


def _barrier_text(path: LinearPath) -> str:
    if path.loss == "error":
        return f"{100 * path.barrier:.1f} points"
    return f"{path.barrier:.3f}" + (" nats" if path.loss == "nll" else "")


__all__ = ["barrier_curves", "path_texts", "triangle_map"]
