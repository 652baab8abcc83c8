"""The pictures: barriers, canonical correlations, calibration, comparisons, gates.

Each function returns a matplotlib Figure.

Nothing is shown or saved here: `to_svg` and `to_png` of style.py turn a Figure into text or bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from onefold.errors import DataError
from onefold.measure.calibration import Reliability
from onefold.measure.path import LOSSES, LinearPath, Triangle
from onefold.measure.scores import Scores
from onefold.report.style import INK, MUTED, colour, legend, marker, new_figure, restyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OVERLAID = 6  # curves that one pair of axes carries; more groups become a strip each
LOSS_LABELS = dict(zip(LOSSES, ("NLL (nats)", "Brier score (0 to 2)", "error (%)"), strict=True))


def barrier_curves(paths: Mapping[str, LinearPath]) -> Figure:
    """Accuracy and loss along several lines between two networks, by name; the dashed line is what
    no barrier would look like.

    Raises:
        DataError: there is no path, or the paths have different losses.
    """
    _some(paths, "path")
    losses = {path.loss for path in paths.values()}
    if len(losses) > 1:
        raise DataError(
            f"The paths have different losses ({', '.join(sorted(losses))}); draw one figure for"
            " each."
        )
    loss = losses.pop()
    figure, (top, bottom) = new_figure(5.4 + 0.2 * len(paths), rows=2, share_x=True)
    for i, (name, path) in enumerate(paths.items()):
        style: dict[str, Any] = {
            "color": colour(i),
            "marker": marker(i),
            "markersize": 4.5,
            "linewidth": 1.8,
        }
        accuracies = [100 * scores.accuracy for scores in path.scores]
        values = [value if math.isfinite(value) else np.nan for value in path.losses]
        if loss == "error":
            values = [100 * value for value in values]
        label = (
            f"{name}: accuracy dip {100 * path.accuracy_dip:.1f} points, barrier {_loss_text(path)}"
        )
        top.plot(path.positions, accuracies, label=label, **style)
        bottom.plot(path.positions, values, **style)
        for axes, series in ((top, accuracies), (bottom, values)):
            axes.plot(
                [0, 1],
                [series[0], series[-1]],
                color=colour(i),
                linestyle=(0, (3, 3)),
                linewidth=1,
                alpha=0.8,
            )
    top.tick_params(labelbottom=False)
    top.set_ylabel("accuracy (%)")
    bottom.set_ylabel(LOSS_LABELS[loss])
    bottom.set_xlabel("position on the line (0 = first network, 1 = second)")
    legend(top)
    return figure


def correlation_spectra(spectra: Mapping[str, Sequence[float]]) -> Figure:
    """Correlations of matched features, sorted downwards, one spectrum for each group of features,
    by name.

    Up to six groups are curves on shared axes; more become one coloured strip each, with the mean
    beside it.

    Raises:
        DataError: there is no group, or a group has no correlations.
    """
    _some(spectra, "group")
    ordered = {
        name: np.sort(np.asarray(values, dtype=float))[::-1] for name, values in spectra.items()
    }
    for name, values in ordered.items():
        if not len(values):
            raise DataError(f"Group '{name}' has no correlations to draw; leave it out.")
    share = "share of the group's features, best matched first (%)"
    if len(ordered) <= OVERLAID:
        figure, (axes,) = new_figure(3.6 + 0.2 * len(ordered))
        for i, (name, values) in enumerate(ordered.items()):
            # Each feature is a step as wide as its share, so that groups of unequal size can be
            # compared.
            axes.stairs(
                values,
                np.linspace(0, 100, len(values) + 1),
                baseline=None,
                color=colour(i),
                linewidth=2,
            )
            axes.plot(
                [50],
                [values[len(values) // 2]],
                marker=marker(i),
                color=colour(i),
                markersize=6,
                linewidth=2,
                label=_label(name, values),
            )
        axes.set_ylim(min(0.0, *(float(values[-1]) for values in ordered.values())) - 0.02, 1.02)
        axes.set_xlim(0, 100)
        axes.set_ylabel("correlation")
        axes.set_xlabel(f"{share}; markers: medians")
        legend(axes)
        return figure
    figure, (axes,) = new_figure(1.5 + 0.21 * len(ordered))
    columns = 100
    table = np.stack(
        [values[(np.arange(columns) * len(values)) // columns] for values in ordered.values()]
    )
    lowest = min(0.0, float(table.min()))
    mesh = axes.pcolormesh(
        np.linspace(0, 100, columns + 1),
        np.arange(len(ordered) + 1),
        table,
        cmap="viridis",
        vmin=lowest,
        vmax=1,
        rasterized=True,
    )
    _rows(axes, list(ordered))
    for row, values in enumerate(ordered.values()):
        axes.text(101, row + 0.5, f"{values.mean():.2f}", va="center", fontsize=8, color=INK)
    axes.text(101, -0.25, "mean", va="bottom", fontsize=8, color=INK)
    axes.hlines(np.arange(1, len(ordered)), 0, 100, color="white", linewidth=1)
    axes.set_xlabel(share)
    _colour_bar(figure, axes, mesh, "correlation")
    return figure


def alignment_overview(means: Mapping[str, Mapping[str, float]]) -> Figure:
    """Mean correlation of the matched features of every group, along the network from top to
    bottom: {member: {group: mean}}.

    Raises:
        DataError: there is no member or no group.
    """
    _some(means, "member")
    groups = list(dict.fromkeys(group for values in means.values() for group in values))
    _some(groups, "group")
    figure, (axes,) = new_figure(1.2 + 0.24 * len(groups) + 0.2 * len(means))
    for i, (member, values) in enumerate(means.items()):
        rows = [groups.index(group) + 0.5 for group in values]
        axes.plot(
            list(values.values()),
            rows,
            color=colour(i),
            marker=marker(i),
            markersize=5.5,
            linewidth=1.2,
            label=member,
        )
    _rows(axes, groups)
    restyle(axes, grid="both")
    low = min(0.0, *(value for values in means.values() for value in values.values()))
    axes.set_xlim(low - 0.02, 1.02)
    axes.set_xlabel("mean correlation of matched features")
    legend(axes, columns=min(4, len(means)))
    return figure


def reliability_diagram(curves: Mapping[str, Reliability]) -> Figure:
    """Accuracy against confidence, by name of the network; on the dashed diagonal confidence means
    what it says.

    Area shows a bin's examples.

    Raises:
        DataError: there is no curve.
    """
    _some(curves, "calibration curve")
    figure, (axes,) = new_figure(4.6 + 0.2 * len(curves))
    axes.plot([0, 100], [0, 100], color=INK, alpha=0.6, linestyle=(0, (3, 3)), linewidth=1)
    for i, (name, curve) in enumerate(curves.items()):
        x, y = (
            [100 * value for value in curve.confidence],
            [100 * value for value in curve.accuracy],
        )
        sizes = [8 + 160 * count / sum(curve.count) for count in curve.count]
        axes.plot(x, y, color=colour(i), linewidth=1.5)
        label = f"{name}: ECE {100 * curve.ece:.1f} % ({curve.bins} {curve.binning} bins)"
        axes.scatter(x, y, s=sizes, color=colour(i), marker=marker(i), alpha=0.85, linewidths=0)
        axes.plot([], [], color=colour(i), marker=marker(i), label=label)
    axes.set_xlim(0, 102)
    axes.set_ylim(-2, 102)
    axes.set_xlabel("confidence (%)")
    axes.set_ylabel("accuracy (%)")
    legend(axes)
    return figure


def accuracy_comparison(scores: Mapping[str, Scores], emphasis: Sequence[str] = ()) -> Figure:
    """Accuracies as points with one standard error, from top to bottom in the order given; the
    names in `emphasis` are coloured.

    Raises:
        DataError: there are no scores.
    """
    _some(scores, "network")
    figure, (axes,) = new_figure(0.9 + 0.34 * len(scores))
    restyle(axes, grid="x")
    for row, (name, each) in enumerate(scores.items()):
        chosen = name in emphasis
        shade = colour(0) if chosen else MUTED
        value, error = 100 * each.accuracy, 100 * each.accuracy_error
        axes.errorbar(
            [value],
            [row + 0.5],
            xerr=[error],
            color=shade,
            marker="D" if chosen else "o",
            markersize=7,
            elinewidth=1.6,
            capsize=3,
        )
        text = f"{value:.1f} ± {error:.1f}"
        axes.text(
            1.01,
            row + 0.5,
            text,
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=9,
            color=INK,
            weight="bold" if chosen else None,
        )
    _rows(axes, list(scores))
    axes.set_xlabel(f"accuracy (%), bars: one standard error, {_sample_sizes(scores)}")
    return figure


def heat_map(
    matrix: Any,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    label: str,
    low: float | None = None,
    high: float | None = None,
) -> Figure:
    """A matrix (len(rows), len(columns)) as colours, with its numbers written where they fit;
    `label` names the quantity and its unit.

    Raises:
        DataError: the matrix is empty or its shape is not (rows, columns).
    """
    values = np.asarray(matrix, dtype=float)
    if values.shape != (len(rows), len(columns)) or not values.size:
        raise DataError(
            f"The matrix has shape {values.shape} but {len(rows)} row and {len(columns)} column"
            " labels; give one label per row and column."
        )
    finite = values[np.isfinite(values)]
    bottom = low if low is not None else float(finite.min(initial=0))
    top = high if high is not None else float(finite.max(initial=bottom + 1e-12))
    figure, (axes,) = new_figure(1.6 + max(0.24 * len(rows), 0.5))
    mesh = axes.pcolormesh(
        values,
        cmap="viridis",
        vmin=bottom,
        vmax=top,
        rasterized=values.size > 400,
        edgecolors="none",
    )
    _rows(axes, list(rows))
    restyle(axes, grid="none")
    axes.set_xticks(np.arange(len(columns)) + 0.5, [_short(name) for name in columns])
    crowded = sum(len(_short(name)) for name in columns) > 70
    if crowded:
        axes.tick_params(axis="x", labelrotation=90)
    if len(columns) <= 12 and len(rows) <= 40:
        for (row, column), value in np.ndenumerate(values):
            light = (value - bottom) / max(
                top - bottom, 1e-12
            ) > 0.6  # the upper end of viridis is light, and a gap shows the page
            shade = INK if not math.isfinite(value) else "#000000" if light else "#ffffff"
            text = f"{value:.2f}" if top <= 10 else f"{value:.3g}"
            axes.text(
                column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=8, color=shade
            )
    _colour_bar(figure, axes, mesh, label)
    return figure


def triangle_map(
    triangle: Triangle, corners: tuple[str, str, str] = ("first", "second", "third")
) -> Figure:
    """Accuracy over the triangle of three networks, one hexagon for each network that was scored;
    `corners` are their names.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import RegularPolygon

    figure, (axes,) = new_figure(5.4)
    restyle(axes, grid="none")
    weights = np.asarray(triangle.weights)
    places = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(0.75)]])
    points = weights @ places
    accuracy = np.array([100 * scores.accuracy for scores in triangle.scores])
    resolution = round(math.sqrt(2 * len(points) + 0.25) - 1.5)
    radius = 1 / (math.sqrt(3) * resolution)  # neighbours touch
    hexagons = [RegularPolygon((x, y), 6, radius=radius) for x, y in points]
    cells = PatchCollection(hexagons, cmap="viridis", linewidths=0.3, edgecolors="face")
    cells.set_array(accuracy)
    axes.add_collection(cells)
    margin = radius + 0.07
    for name, (x, y) in zip(corners, places, strict=True):
        axes.text(
            x,
            y + (margin if y > 0 else -margin),
            name,
            ha="center",
            va="center",
            color=INK,
            fontsize=10,
        )
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(-margin - 0.05, 1 + margin + 0.05)
    axes.set_ylim(-margin - 0.05, math.sqrt(0.75) + margin + 0.05)
    _colour_bar(figure, axes, cells, "accuracy (%)")
    return figure


def _some(things: Any, what: str) -> None:
    if not len(things):
        raise DataError(f"There is no {what} to draw; pass at least one.")


def _short(name: str, longest: int = 30) -> str:
    """A long name without its middle, so that the end, which tells layers apart, stays."""
    return (
        name
        if len(name) <= longest
        else f"{name[: longest // 3]}…{name[len(name) - (longest - longest // 3 - 1) :]}"
    )


def _label(name: str, values: Any) -> str:
    return f"{_short(name, 44)}: mean {values.mean():.2f} over {len(values)} features"


def _loss_text(path: LinearPath) -> str:
    if path.loss == "error":
        return f"{100 * path.barrier:.1f} points"
    return f"{path.barrier:.3f}" + (" nats" if path.loss == "nll" else "")


def _rows(axes: Axes, names: list[str]) -> None:
    """One labelled row for each name, the first at the top."""
    axes.set_yticks(np.arange(len(names)) + 0.5, [_short(name) for name in names])
    axes.set_ylim(len(names), 0)
    axes.tick_params(axis="y", length=0)


def _colour_bar(figure: Figure, axes: Axes, mappable: Any, label: str) -> None:
    bar = figure.colorbar(mappable, ax=axes, location="bottom", shrink=0.6, aspect=32, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=INK, labelcolor=INK, labelsize=9, length=3)
    bar.set_label(label, color=INK, size=10)
    if bar.solids is not None:
        bar.solids.set_edgecolor("face")


def _sample_sizes(scores: Mapping[str, Scores]) -> str:
    sizes = sorted({each.n for each in scores.values()})
    return f"n = {sizes[0]:,}" if len(sizes) == 1 else f"n = {sizes[0]:,} to {sizes[-1]:,}"


__all__ = [
    "accuracy_comparison",
    "alignment_overview",
    "barrier_curves",
    "correlation_spectra",
    "heat_map",
    "reliability_diagram",
    "triangle_map",
]
