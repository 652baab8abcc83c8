"""A matrix as a picture, such as the agreement of networks with one another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from onefold.errors import DataError
from onefold.report.axes import color_bar, name_rows, shortened
from onefold.report.style import INK, new_figure, restyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUMBERED = (40, 12)  # rows and columns of the largest matrix whose numbers are written
LIGHT = 0.6  # share of the range above which viridis is light


def heat_map(
    matrix: Any,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    label: str,
    low: float | None = None,
    high: float | None = None,
) -> Figure:
    """A matrix as colors, with its numbers if they fit.

    Args:
        matrix: (len(rows), len(columns)), numbers; NaN is a gap.
        rows: the names of the rows.
        columns: the names of the columns.
        label: the quantity and its unit.
        low: the value of the darkest color; None takes the least of the matrix.
        high: the value of the lightest color; None takes the greatest of the matrix.

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
    name_rows(axes, list(rows))
    restyle(axes, grid="none")
    axes.set_xticks(np.arange(len(columns)) + 0.5, [shortened(name) for name in columns])
    crowded = sum(len(shortened(name)) for name in columns) > 70
    if crowded:
        axes.tick_params(axis="x", labelrotation=90)
    if len(rows) <= NUMBERED[0] and len(columns) <= NUMBERED[1]:
        _write_numbers(axes, values, bottom, top)
    color_bar(figure, axes, mesh, label)
    return figure


def _write_numbers(axes: Axes, values: Any, bottom: float, top: float) -> None:
    """Write every number in black or white, whichever has more contrast, and a gap in INK."""
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
    for (row, column), value in np.ndenumerate(values):
        light = (value - bottom) / max(top - bottom, 1e-12) > LIGHT
        shade = "#000000" if light else "#ffffff"
        if not math.isfinite(value):
            shade = INK  # a gap shows the page
        text = f"{value:.2f}" if top <= 10 else f"{value:.3g}"
        axes.text(column + 0.5, row + 0.5, text, color=shade, **style)


__all__ = ["heat_map"]
