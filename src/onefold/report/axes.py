"""Parts that several plots share: labelled rows, short names, color bars, a check of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from onefold.errors import DataError
from onefold.report.style import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def check_some(things: Any, what: str) -> None:
    """Refuse an empty collection.

    Args:
        things: the collection.
        what: one of its things in words, for the message.

    Raises:
        DataError: it is empty.
    """
    if not len(things):
        raise DataError(f"There is no {what} to draw; pass at least one.")


def shortened(name: str, longest: int = 30) -> str:
    """A name without its middle, if it is long.

    The end stays, since it tells layers apart.

    Args:
        name: the name.
        longest: letters of the result at most.
    """
    if len(name) <= longest:
        return name
    start = longest // 3
    return f"{name[:start]}…{name[len(name) - (longest - start - 1) :]}"


def name_rows(axes: Axes, names: list[str]) -> None:
    """Give the axes one labelled row for each name, the first at the top."""
    axes.set_yticks(np.arange(len(names)) + 0.5, [shortened(name) for name in names])
    axes.set_ylim(len(names), 0)
    axes.tick_params(axis="y", length=0)


def color_bar(figure: Figure, axes: Axes, mappable: Any, label: str) -> None:
    """Add a color bar below the axes.

    Args:
        figure: the figure.
        axes: its axes.
        mappable: the artist of matplotlib whose colors are explained.
        label: the quantity and its unit.
    """
    bar = figure.colorbar(mappable, ax=axes, location="bottom", shrink=0.6, aspect=32, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=INK, labelcolor=INK, labelsize=9, length=3)
    bar.set_label(label, color=INK, size=10)
    if bar.solids is not None:
        bar.solids.set_edgecolor("face")


__all__ = ["check_some", "color_bar", "name_rows", "shortened"]
