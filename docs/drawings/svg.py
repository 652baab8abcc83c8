"""Pieces of drawings: boxes with text, arrows and labels, in the colours of the page's theme.

Colours are variables of CSS with defaults, so that a drawing that is part of a page follows the
page's theme, and one that is shown alone is readable on white. Names of classes begin with "d-",
as the styles of a drawing hold for the whole page that it is part of.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

INK = "var(--color-foreground-primary, #14181f)"
SOFT = "var(--color-foreground-secondary, #4d5562)"
LINE = "var(--color-foreground-muted, #6b7280)"
PAPER = "var(--color-background-secondary, #f4f6f9)"
BLUE = "var(--of-blue, #1f5fbf)"
ORANGE = "var(--of-orange, #b4540a)"
GREEN = "var(--of-green, #0f766e)"
BLUE_PAPER = "var(--of-blue-paper, #e3edfb)"
ORANGE_PAPER = "var(--of-orange-paper, #fdeee0)"
GREEN_PAPER = "var(--of-green-paper, #ddf3ef)"

SANS = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, Liberation Mono, monospace"


def text(
    x: float,
    y: float,
    words: str,
    *,
    size: float = 15,
    fill: str = INK,
    anchor: str = "middle",
    bold: bool = False,
    mono: bool = False,
) -> str:
    """One line of text, whose baseline is at y."""
    weight = ' font-weight="600"' if bold else ""
    family = f' font-family="{MONO}"' if mono else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}"'
        f' style="fill: {fill}"{weight}{family}>{escape(words)}</text>'
    )


def box(
    x: float,
    y: float,
    width: float,
    height: float,
    *,
    fill: str = PAPER,
    stroke: str = LINE,
    radius: float = 8,
) -> str:
    """A rectangle with round corners."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}"'
        f' style="fill: {fill}; stroke: {stroke}" stroke-width="1.2"/>'
    )


def circle(x: float, y: float, radius: float, *, fill: str = PAPER, stroke: str = LINE) -> str:
    """A circle."""
    return (
        f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" style="fill: {fill}; stroke: {stroke}"'
        ' stroke-width="1.5"/>'
    )


def line(
    points: Sequence[tuple[float, float]],
    *,
    stroke: str = LINE,
    width: float = 1.5,
    dashed: bool = False,
) -> str:
    """A line through points."""
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return (
        f'<polyline points="{path}" style="fill: none; stroke: {stroke}"'
        f' stroke-width="{width:g}"{dashes}/>'
    )


def arrow(points: Sequence[tuple[float, float]], *, stroke: str = LINE, width: float = 1.5) -> str:
    """A line through points with a head at its end; its last part is level or upright."""
    (x0, y0), (x, y) = points[-2:]
    size = 6.0
    if x == x0:
        back = y - size if y > y0 else y + size
        head = [(x - size * 0.7, back), (x + size * 0.7, back), (x, y)]
    else:
        back = x - size if x > x0 else x + size
        head = [(back, y - size * 0.7), (back, y + size * 0.7), (x, y)]
    corners = " ".join(f"{a:g},{b:g}" for a, b in head)
    return line(points, stroke=stroke, width=width) + (
        f'<polygon points="{corners}" style="fill: {stroke}"/>'
    )


def drawing(width: float, height: float, parts: Sequence[str]) -> str:
    """The file: an SVG of this size in its own units, which scales to the width of the page."""
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}"'
        f' width="{width:g}" height="{height:g}" font-family="{SANS}">\n{body}\n</svg>\n'
    )
