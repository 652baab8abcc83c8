"""The chart at the top of a report: score against inference cost, every network a labelled point.

Costs are few and far apart, so each has a stretch of its own, in order and not to scale. Networks
of one cost stand side by side from the best to the worst, their names beside them. The chart is
drawn twice, for wide and for narrow screens. It needs no plotting package.
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
from onefold.report.style import MUTED, PALETTE

LETTER = 0.54  # width of an average letter, in font sizes
TOP, BELOW = 34.0, 52.0  # above and below the area of the points
LEFT, RIGHT = 40.0, 6.0
NAMED = 6  # members that have their names written; of more only the best has
REACH = 1.6  # how far below the compared networks the axis goes, in their own range
LEAST = 0.04  # of a fraction: the axis reaches at least so far below
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
        score: a fraction of 1.
        error: the standard error of the score.
        cost: of inference, in units of one member's.
        kind: what it is.
    """

    name: str
    score: float
    error: float
    cost: float
    kind: Kind = "other"


@dataclass(frozen=True)
class _Size:
    width: float
    height: float
    font: float


WIDE, NARROW = _Size(1040, 350, 13.5), _Size(380, 380, 12.0)


def cost_chart(points: Sequence[Point], score: str = "accuracy") -> Picture:
    """Score against cost, with one standard error either way.

    Points far below the result, the ensembles and the best member are drawn at the lower edge with
    their number, so that the rest stays apart.

    Args:
        points: the networks.
        score: the name of the score, which is shown in percent.

    Raises:
        DataError: there is no point.
    """
    if not points:
        raise DataError("There is no network to draw; pass at least one.")
    told = "; ".join(
        f"{one.name} {100 * one.score:.1f} % ± {100 * one.error:.1f} at {_times(one.cost)}"
        for one in points
    )
    columns = (
        Column(name="network"),
        Column(name=score, unit="%", digits=2),
        Column(name="standard error", unit="points", digits=2),
        Column(name="inference cost", unit="networks", digits=2),
    )
    rows = tuple((one.name, 100 * one.score, 100 * one.error, one.cost) for one in points)
    return Picture(
        svg=_draw(points, score, WIDE),
        narrow=_draw(points, score, NARROW),
        caption=f"{score.capitalize()} against the cost of inference. Bars are one standard error"
        f"{', the dashed line is the best member' if _best(points) is not None else ''}.",
        description=f"{score.capitalize()} against the cost of inference: {told}.",
        numbers=Table(columns=columns, rows=rows),
    )


def _draw(points: Sequence[Point], score: str, size: _Size) -> str:
    low, high = _range(points)
    step = _step(low, high)
    bottom, top = size.height - BELOW, TOP

    def height(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / (high - low)

    parts = [_text(0, 14, f"{score}, %", size.font, quiet=True)]
    best = _best(points)
    value = math.ceil(low / step - 1e-9) * step
    while value <= high + 1e-9:
        y = height(value)
        parts.append(
            f'<line x1="{LEFT}" x2="{size.width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
            ' stroke="currentColor" stroke-opacity="0.13"/>'
        )
        number = f"{100 * value:.{0 if step >= 0.01 else 1}f}"
        parts.append(_text(LEFT - 8, y + 4.5, number, size.font, anchor="end", quiet=True))
        value += step
    costs = sorted({round(one.cost, 2) for one in points})
    groups = [
        sorted((one for one in points if round(one.cost, 2) == cost), key=lambda one: -one.score)
        for cost in costs
    ]
    shares = [_needed(own, size) for own in groups]
    unit, left = (size.width - LEFT - RIGHT) / sum(shares), LEFT
    for k, (cost, own) in enumerate(zip(costs, groups, strict=True)):
        stretch = unit * shares[k]
        parts += _group(own, left, stretch, (low, best), height, size)
        if k:
            parts.append(
                f'<line x1="{left:.1f}" x2="{left:.1f}" y1="{top - 6}" y2="{bottom}"'
                ' stroke="currentColor" stroke-opacity="0.2" stroke-dasharray="2 4"/>'
            )
        middle = left + 14
        parts.append(_text(middle, bottom + 22, _times(cost), size.font, bold=True))
        left += stretch
    parts.append(
        f'<line x1="{LEFT}" x2="{size.width - RIGHT}" y1="{bottom}" y2="{bottom}"'
        ' stroke="currentColor" stroke-opacity="0.5"/>'
    )
    parts.append(_text(LEFT + 14, bottom + 42, "cost of inference", size.font, quiet=True))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size.width:g} {size.height:g}">'
        f"{''.join(parts)}</svg>"
    )


def _group(
    own: Sequence[Point],
    left: float,
    stretch: float,
    known: tuple[float, float | None],
    height: Callable[[float], float],
    size: _Size,
) -> list[str]:
    """The points of one cost, the best on the left, and their names on the right.

    `known`: the lowest score of the axis and that of the best member.
    """
    low, best = known
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
        x, y = left + 20 + step * i, height(max(one.score, low))
        shade = COLORS[one.kind]
        below = one.score < low
        if not below:
            ends = height(max(one.score - one.error, low)), height(one.score + one.error)
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
        number = f"{100 * one.score:.1f}"
        bold = one.kind == "result"  # its letters are wider
        text = _cut(one.name, max(5, letters - len(number) - (3 if bold else 1)))
        leaders.append(
            f'<polyline points="{x + 9:.1f},{own_y:.1f} {column - 5:.1f},{y:.1f}" fill="none"'
            ' stroke="currentColor" stroke-opacity="0.28"/>'
        )
        parts.append(_text(column, y + 4.5, text, size.font, bold=bold, number=number))
    return leaders + parts


def _best(points: Sequence[Point]) -> float | None:
    """The score of the best member; None without members."""
    return max((one.score for one in points if one.kind == "member"), default=None)


def _step_of(size: _Size) -> float:
    """The distance of two points side by side."""
    return 24.0 if size is WIDE else 7.0


def _needed(own: Sequence[Point], size: _Size) -> float:
    """The width that the points of one cost and their names would like to have."""
    longest = max(len(one.name) for one in own)
    return 40 + _step_of(size) * len(own) + LETTER * size.font * (longest + 6)


def _named(own: Sequence[Point]) -> list[Point]:
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


def _range(points: Sequence[Point]) -> tuple[float, float]:
    """The lowest and the highest score of the axis."""
    members = [one for one in points if one.kind == "member"]
    core = [one for one in points if one.kind in ("result", "ensemble")]
    core += [max(members, key=lambda one: one.score)] if members else []
    core = core or list(points)
    high = max(one.score + one.error for one in points)
    least = min(one.score - one.error for one in core)
    floor = least - max(REACH * (high - least), LEAST)
    shown = [one.score - one.error for one in points if one.score >= floor]
    low = min(shown, default=least)
    pad = max(0.06 * (high - low), 0.002)
    return max(low - 2 * pad, 0.0), min(high + pad, 1.0 + pad)


def _step(low: float, high: float) -> float:
    """The distance of lines of a round number, at most seven of them."""
    rough = (high - low) / 7
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next((m * power for m in (1, 2, 5) if m * power >= rough), 10 * power)


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
