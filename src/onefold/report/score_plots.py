"""Plots of scores: calibration curves of classifiers, and networks side by side.

Each function returns a matplotlib Figure. `to_svg` and `to_png` of style.py turn it into text or
bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onefold.measure.scores import Scores
from onefold.report.axes import check_some, name_rows
from onefold.report.score_words import check_alike, direction, value_with_error
from onefold.report.style import INK, MUTED, color, legend, marker, new_figure, restyle
from onefold.tasks.calibration import Reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reliability_diagram(curves: Mapping[str, Reliability]) -> Figure:
    """Accuracy against confidence, one curve for each network.

    On the dashed diagonal confidence equals accuracy. The area of a mark shows the number of
    examples in a bin.

    Args:
        curves: name of a network -> its calibration curve.

    Raises:
        DataError: there is no curve.
    """
    check_some(curves, "calibration curve")
    figure, (axes,) = new_figure(4.6 + 0.2 * len(curves))
    axes.plot([0, 100], [0, 100], color=INK, alpha=0.6, linestyle=(0, (3, 3)), linewidth=1)
    for i, (name, curve) in enumerate(curves.items()):
        x = [100 * value for value in curve.confidence]
        y = [100 * value for value in curve.accuracy]
        sizes = [8 + 160 * count / sum(curve.count) for count in curve.count]
        axes.plot(x, y, color=color(i), linewidth=1.5)
        label = f"{name}: ECE {100 * curve.ece:.1f} % ({curve.bins} {curve.binning} bins)"
        axes.scatter(x, y, s=sizes, color=color(i), marker=marker(i), alpha=0.85, linewidths=0)
        axes.plot([], [], color=color(i), marker=marker(i), label=label)
    axes.set_xlim(0, 102)
    axes.set_ylim(-2, 102)
    axes.set_xlabel("confidence (%)")
    axes.set_ylabel("accuracy (%)")
    legend(axes)
    return figure


def score_comparison(scores: Mapping[str, Scores], emphasis: Sequence[str] = ()) -> Figure:
    """The deciding scores as points with one standard error, from top to bottom in the order given.

    Args:
        scores: name of a network -> its scores, all of one task.
        emphasis: the names that are colored.

    Raises:
        DataError: there are no scores, or they are of different tasks.
    """
    check_some(scores, "network")
    check_alike(list(scores.items()))
    kind = next(iter(scores.values())).kind
    figure, (axes,) = new_figure(0.9 + 0.34 * len(scores))
    restyle(axes, grid="x")
    for row, (name, own) in enumerate(scores.items()):
        chosen = name in emphasis
        value, error = kind.scale * own.primary, kind.scale * own.error
        axes.errorbar(
            [value if math.isfinite(value) else math.nan],
            [row + 0.5],
            xerr=[error if math.isfinite(error) else 0.0],
            color=color(0) if chosen else MUTED,
            marker="D" if chosen else "o",
            markersize=7,
            elinewidth=1.6,
            capsize=3,
        )
        style: dict[str, Any] = {"va": "center", "fontsize": 9, "color": INK}
        axes.text(
            1.01,
            row + 0.5,
            value_with_error(own).replace(" %", ""),
            transform=axes.get_yaxis_transform(),
            weight="bold" if chosen else None,
            **style,
        )
    name_rows(axes, list(scores))
    bars = f"bars: one standard error, {_sample_sizes(scores)}"
    axes.set_xlabel(f"{kind.heading}{direction(kind)}, {bars}")
    return figure


def _sample_sizes(scores: Mapping[str, Scores]) -> str:
    sizes = sorted({own.n for own in scores.values()})
    return f"n = {sizes[0]:,}" if len(sizes) == 1 else f"n = {sizes[0]:,} to {sizes[-1]:,}"


__all__ = ["reliability_diagram", "score_comparison"]
