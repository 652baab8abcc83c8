"""Plots of how well features match: spectra of correlations, and their means along a network.

Each function returns a matplotlib Figure. `to_svg` and `to_png` of style.py turn it into text or
bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from onefold.errors import DataError
from onefold.report.axes import check_some, color_bar, name_rows, shortened
from onefold.report.style import INK, color, legend, marker, new_figure, restyle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OVERLAID = 6  # curves that share one pair of axes; more groups become a strip each
STEPS = 100  # columns of a strip
SHARE = "share of the group's features, best matched first (%)"


def correlation_spectra(spectra: Mapping[str, Sequence[float]]) -> Figure:
    """Correlations of matched features, sorted downwards, one spectrum for each group of features.

    Up to six groups are curves on shared axes. More become one colored strip each, with the mean
    beside it.

    Args:
        spectra: name of a group -> its correlations, in any order.

    Raises:
        DataError: there is no group, or a group has no correlations.
    """
    check_some(spectra, "group")
    ordered = {
        name: np.sort(np.asarray(values, dtype=float))[::-1] for name, values in spectra.items()
    }
    for name, values in ordered.items():
        if not len(values):
            raise DataError(f"Group '{name}' has no correlations to draw; leave it out.")
    return _curves(ordered) if len(ordered) <= OVERLAID else _strips(ordered)


def alignment_overview(means: Mapping[str, Mapping[str, float]]) -> Figure:
    """Mean correlation of the matched features of every group, along the network downwards.

    Args:
        means: name of a member -> name of a group -> mean correlation.

    Raises:
        DataError: there is no member or no group.
    """
    check_some(means, "member")
    groups = list(dict.fromkeys(group for values in means.values() for group in values))
    check_some(groups, "group")
    figure, (axes,) = new_figure(1.2 + 0.24 * len(groups) + 0.2 * len(means))
    for i, (member, values) in enumerate(means.items()):
        rows = [groups.index(group) + 0.5 for group in values]
        axes.plot(
            list(values.values()),
            rows,
            color=color(i),
            marker=marker(i),
            markersize=5.5,
            linewidth=1.2,
            label=member,
        )
    name_rows(axes, groups)
    restyle(axes, grid="both")
    low = min(0.0, *(value for values in means.values() for value in values.values()))
    axes.set_xlim(low - 0.02, 1.02)
    axes.set_xlabel("mean correlation of matched features")
    legend(axes, columns=min(4, len(means)))
    return figure


def _curves(spectra: Mapping[str, Any]) -> Figure:
    """Spectra as curves on shared axes, with a marker at the median."""
    figure, (axes,) = new_figure(3.6 + 0.2 * len(spectra))
    for i, (name, values) in enumerate(spectra.items()):
        # Each feature is a step as wide as its share, so that groups of unequal size can be
        # compared.
        edges = np.linspace(0, 100, len(values) + 1)
        axes.stairs(values, edges, baseline=None, color=color(i), linewidth=2)
        axes.plot(
            [50],
            [values[len(values) // 2]],
            marker=marker(i),
            color=color(i),
            markersize=6,
            linewidth=2,
            label=_label(name, values),
        )
    axes.set_ylim(min(0.0, *(float(values[-1]) for values in spectra.values())) - 0.02, 1.02)
    axes.set_xlim(0, 100)
    axes.set_ylabel("correlation")
    axes.set_xlabel(f"{SHARE}; markers: medians")
    legend(axes)
    return figure


def _strips(spectra: Mapping[str, Any]) -> Figure:
    """Spectra as colored strips, one below the other."""
    figure, (axes,) = new_figure(1.5 + 0.21 * len(spectra))
    table = np.stack(
        [values[(np.arange(STEPS) * len(values)) // STEPS] for values in spectra.values()]
    )
    mesh = axes.pcolormesh(
        np.linspace(0, 100, STEPS + 1),
        np.arange(len(spectra) + 1),
        table,
        cmap="viridis",
        vmin=min(0.0, float(table.min())),
        vmax=1,
        rasterized=True,
    )
    name_rows(axes, list(spectra))
    for row, values in enumerate(spectra.values()):
        axes.text(101, row + 0.5, f"{values.mean():.2f}", va="center", fontsize=8, color=INK)
    axes.text(101, -0.25, "mean", va="bottom", fontsize=8, color=INK)
    axes.hlines(np.arange(1, len(spectra)), 0, 100, color="white", linewidth=1)
    axes.set_xlabel(SHARE)
    color_bar(figure, axes, mesh, "correlation")
    return figure


def _label(name: str, values: Any) -> str:
    return f"{shortened(name, 44)}: mean {values.mean():.2f} over {len(values)} features"


__all__ = ["alignment_overview", "correlation_spectra"]
