"""The chart at the top of a report: score against inference cost, every network a labelled point.

Better is farther up (`score_axis.py`). Costs are few and far apart, so each has a stretch of its
own, in order and not to scale. Networks of one cost stand side by side from the best to the worst,
their names beside them. The chart is drawn twice, for wide and for narrow screens. It needs no
plotting package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from onefold.errors import DataError
from onefold.printable import printable
from onefold.report.blocks import Column, Picture, Table
from onefold.report.comparison import Kind
from onefold.report.score_axis import Axis, axis_of
from onefold.report.score_words import capital
from onefold.report.score_words import points as units
from onefold.report.style import MUTED, PALETTE
from onefold.tasks.score import ACCURACY, Score

LETTER = 0.54  # width of an average letter, in font sizes
TOP, BELOW = 34.0, 52.0  # above and below the area of the points
LEFT, RIGHT = 40.0, 6.0
NAMED = 6  # members that have their names written; of more only the best has
COLORS = {
    "result": PALETTE[1],
    "member": PALETTE[0],
    "ensemble": PALETTE[2],
    "mapped": MUTED,
    "other": MUTED,
}


@dataclass(frozen=True)
class Point:
    """A network or an ensemble in the chart.

    Attributes:
        name: its name.
        score: the score; of percentages a fraction of 1. It may be infinite or NaN.
        error: the standard error of the score; NaN if it is not known.
        cost: of inference, in units of one member's.
        kind: what it is.
    """

    name: str
    score: float
    error: float
    cost: float
    kind: Kind = "other"


@dataclass(frozen=True)
class _Placed:
    """A point with its height on the axis, which is infinite if the score is not finite."""

    name: str
    height: float
    error: float
    cost: float
    kind: Kind


@dataclass(frozen=True)
class _Size:
    width: float
    height: float
    font: float


WIDE, NARROW = _Size(1040, 350, 13.5), _Size(380, 380, 12.0)


def cost_chart(points: Sequence[Point], score: Score = ACCURACY) -> Picture:
    """Score against cost, with one standard error either way.

    Points far below the result, the ensembles and the best member are drawn at the lower edge with
    their number, so that the rest stays apart.

    Args:
        points: the networks.
        score: what the score is.

    Raises:
        DataError: there is no point.
    """
    if not points:
        raise DataError("There is no network to draw; pass at least one.")
    told = "; ".join(f"{one.name} {_told(one, score)} at {_times(one.cost)}" for one in points)
    columns = (
        Column(name="network"),
        Column(name=score.label, unit=score.unit, digits=score.digits),
        Column(name="standard error", unit=units(score), digits=score.digits),
        Column(name="inference cost", unit="networks", digits=2),
    )
    scale = score.scale
    rows = tuple((one.name, scale * one.score, scale * one.error, one.cost) for one in points)
    placed = [
        _Placed(one.name, score.better(one.score), _known(one.error), one.cost, one.kind)
        for one in points
    ]
    title = f"{capital(score.label)} against the cost of inference"
    turned = " The lower it is, the better, and the higher up." * (score.highest is False)
    best = ", the dashed line is the best member" * (_best(placed) is not None)
    return Picture(
        svg=_draw(placed, score, WIDE),
        narrow=_draw(placed, score, NARROW),
        caption=f"{title}.{turned} Bars are one standard error{best}.",
        description=f"{title}: {told}.",
        numbers=Table(columns=columns, rows=rows),
    )


def _told(one: Point, score: Score) -> str:
    """A score with its error in words, percentages with one decimal."""
    digits = 1 if score.unit == "%" else score.digits
    text = f"{score.scale * one.score:.{digits}f} {score.unit}".rstrip()
    if not math.isfinite(one.error):
        return text
    return f"{text} ± {score.scale * one.error:.{digits}f}"


def _known(error: float) -> float:
    """The error, or 0, which draws no bar, if it is not known."""
    return error if math.isfinite(error) else 0.0


def _draw(points: Sequence[_Placed], score: Score, size: _Size) -> str:
    axis = _axis(points, score)
    bottom, top = size.height - BELOW, TOP

    def height(value: float) -> float:
        return bottom - (bottom - top) * (value - axis.low) / (axis.high - axis.low)

    parts = [_text(0, 14, axis.title, size.font, quiet=True)]
    numbers = [axis.at_line(value) for value in axis.lines]
    left = max(LEFT, 14 + LETTER * size.font * max(map(len, numbers), default=0))
    for value, number in zip(axis.lines, numbers, strict=True):
        y = height(value)
        parts.append(
            f'<line x1="{left:g}" x2="{size.width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
            ' stroke="currentColor" stroke-opacity="0.13"/>'
        )
        parts.append(_text(left - 8, y + 4.5, number, size.font, anchor="end", quiet=True))
    parts += _stretches(points, left, axis, height, size)
    parts.append(
        f'<line x1="{left:g}" x2="{size.width - RIGHT}" y1="{bottom}" y2="{bottom}"'
        ' stroke="currentColor" stroke-opacity="0.5"/>'
    )
    parts.append(_text(left + 14, bottom + 42, "cost of inference", size.font, quiet=True))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size.width:g} {size.height:g}">'
        f"{''.join(parts)}</svg>"
    )


def _stretches(
    points: Sequence[_Placed],
    left: float,
    axis: Axis,
    height: Callable[[float], float],
    size: _Size,
) -> list[str]:
    """The stretch of every cost, one beside the other."""
    best, bottom = _best(points), size.height - BELOW
    costs = sorted({round(one.cost, 2) for one in points})
    groups = [
        sorted((one for one in points if round(one.cost, 2) == cost), key=lambda one: -one.height)
        for cost in costs
    ]
    shares = [_needed(own, size) for own in groups]
    unit, parts = (size.width - left - RIGHT) / sum(shares), []
    for k, (cost, own) in enumerate(zip(costs, groups, strict=True)):
        stretch = unit * shares[k]
        parts += _group(own, left, stretch, (axis, best), height, size)
        if k:
            parts.append(
                f'<line x1="{left:.1f}" x2="{left:.1f}" y1="{TOP - 6}" y2="{bottom}"'
                ' stroke="currentColor" stroke-opacity="0.2" stroke-dasharray="2 4"/>'
            )
        parts.append(_text(left + 14, bottom + 22, _times(cost), size.font, bold=True))
        left += stretch
    return parts


def _group(
    own: Sequence[_Placed],
    left: float,
    stretch: float,
    known: tuple[Axis, float | None],
    height: Callable[[float], float],
    size: _Size,
) -> list[str]:
    """The points of one cost, the best on the left, and their names on the right.

    `known`: the axis and the height of the best member.
    """
    axis, best = known
    low = axis.low
    named = _named(own)
    step = min(_step_of(size), 0.45 * stretch / max(len(own), 1))
    column = left + 20 + step * len(own) + (10 if size is WIDE else 4)
    room = left + stretch - column - 4
    letters = max(6, int(room / (LETTER * size.font)))
    leaders: list[str] = []
    parts, labels = [], []
    if best is not None and best >= low:
        y = height(best)
        parts.append(
            f'<line x1="{left:.1f}" x2="{column - 8:.1f}" y1="{y:.1f}" y2="{y:.1f}"'
            f' stroke="{COLORS["member"]}" stroke-dasharray="5 4" stroke-opacity="0.8"/>'
        )
    for i, one in enumerate(own):
        x, y = left + 20 + step * i, height(max(one.height, low))
        shade = COLORS[one.kind]
        below = one.height < low
        if not below:
            ends = height(max(one.height - one.error, low)), height(one.height + one.error)
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}"'
                f' stroke="{shade}" stroke-width="2" stroke-opacity="0.55"/>'
            )
        parts.append(_mark(one.kind, x, y, shade, below))
        if one in named:
            labels.append((y, x, one))
    gap = size.font * 1.35
    for y, (own_y, x, one) in zip(
        _apart([y for y, _, _ in labels], gap, size), labels, strict=True
    ):
        number = axis.of_point(one.height)
        bold = one.kind == "result"  # its letters are wider
        text = _cut(one.name, max(5, letters - len(number) - (3 if bold else 1)))
        leaders.append(
            f'<polyline points="{x + 9:.1f},{own_y:.1f} {column - 5:.1f},{y:.1f}" fill="none"'
            ' stroke="currentColor" stroke-opacity="0.28"/>'
        )
        parts.append(_text(column, y + 4.5, text, size.font, bold=bold, number=number))
    return leaders + parts


def _best(points: Sequence[_Placed]) -> float | None:
    """The height of the best member; None without members."""
    return max((one.height for one in points if one.kind == "member"), default=None)


def _axis(points: Sequence[_Placed], score: Score) -> Axis:
    """The axis on which the result, the ensembles and the best member stay apart."""
    members = [one for one in points if one.kind == "member"]
    core = [one for one in points if one.kind in ("result", "ensemble")]
    core += [max(members, key=lambda one: one.height)] if members else []

    def heights(some: Sequence[_Placed]) -> list[tuple[float, float]]:
        return [(one.height, one.error) for one in some]

    return axis_of(score, heights(points), heights(core or points))


def _step_of(size: _Size) -> float:
    """The distance of two points side by side."""
    return 24.0 if size is WIDE else 7.0


def _needed(own: Sequence[_Placed], size: _Size) -> float:
    """The width that the points of one cost and their names would like to have."""
    longest = max(len(one.name) for one in own)
    return 40 + _step_of(size) * len(own) + LETTER * size.font * (longest + 6)


def _named(own: Sequence[_Placed]) -> list[_Placed]:
    """The points whose names are written."""
    members = [one for one in own if one.kind == "member"]
    left_out = members[1:] if len(members) > NAMED else []
    return [one for one in own if one not in left_out]


def _mark(kind: Kind, x: float, y: float, shade: str, below: bool) -> str:
    if below:
        points = f"{x - 6:.1f},{y - 10:.1f} {x + 6:.1f},{y - 10:.1f} {x:.1f},{y:.1f}"
        return f'<polygon points="{points}" fill="{shade}"/>'
    if kind == "result":
        points = f"{x:.1f},{y - 9:.1f} {x + 9:.1f},{y:.1f} {x:.1f},{y + 9:.1f} {x - 9:.1f},{y:.1f}"
        return f'<polygon points="{points}" fill="{shade}"/>'
    if kind == "ensemble":
        return f'<rect x="{x - 6:.1f}" y="{y - 6:.1f}" width="12" height="12" fill="{shade}"/>'
    fill = f'fill="{shade}"' if kind == "member" else 'fill="none"'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" {fill} stroke="{shade}" stroke-width="2"/>'


def _apart(heights: Sequence[float], gap: float, size: _Size) -> list[float]:
    """Heights, sorted downwards, moved as little as keeps two at least `gap` apart."""
    top, floor = TOP, size.height - BELOW - 4
    runs: list[tuple[float, int]] = []  # the middle of labels that touch, and how many they are
    for y in heights:
        middle, count = y, 1
        while True:
            half = (count - 1) * gap / 2
            middle = max(min(middle, floor - half), top + half)
            if not runs or runs[-1][0] + (runs[-1][1] - 1) * gap / 2 + gap <= middle - half:
                break
            before, number = runs.pop()
            middle = (before * number + middle * count) / (number + count)
            count += number
        runs.append((middle, count))
    return [middle + (k - (count - 1) / 2) * gap for middle, count in runs for k in range(count)]


def _cut(name: str, longest: int) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1].rstrip(' ,')}…"


def _times(cost: float) -> str:
    if cost == 1:
        return "1 network"
    return f"{cost:.2f}".rstrip("0").rstrip(".") + " networks"


def _text(
    x: float,
    y: float,
    text: str,
    font: float,
    *,
    anchor: str = "start",
    bold: bool = False,
    quiet: bool = False,
    number: str = "",
) -> str:
    before = f'<tspan font-weight="700">{number}</tspan> ' if number else ""
    weight = ' font-weight="700"' if bold else ""
    faint = ' fill-opacity="0.75"' if quiet else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{font:g}" text-anchor="{anchor}"'
        f' fill="currentColor"{weight}{faint}>{before}{escape(printable(text))}</text>'
    )


__all__ = ["Point", "cost_chart"]
