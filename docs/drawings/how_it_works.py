"""The pictures of the three pages on how it works."""

from __future__ import annotations

from collections.abc import Sequence

import svg

Colour = tuple[str, str]  # of the line, and of the area

BLUE: Colour = (svg.BLUE, svg.BLUE_PAPER)
ORANGE: Colour = (svg.ORANGE, svg.ORANGE_PAPER)
GREEN: Colour = (svg.GREEN, svg.GREEN_PAPER)
GREY: Colour = (svg.LINE, svg.PAPER)
UNITS = {"a": BLUE, "b": ORANGE, "c": GREEN}


def symmetries() -> str:
    """A network, and the same network with two hidden units exchanged."""
    parts = [
        *_network(60, "abc"),
        *_network(440, "bac"),
        svg.text(165, 24, "a network", size=16, bold=True),
        svg.text(545, 24, "units a and b exchanged", size=16, bold=True),
        svg.text(355, 138, "the same", size=14, fill=svg.SOFT),
        svg.text(355, 156, "outputs", size=14, fill=svg.SOFT),
        svg.arrow([(325, 168), (385, 168)]),
    ]
    return svg.drawing(710, 300, parts)


def _network(left: float, order: str) -> list[str]:
    """Two inputs, three hidden units in an order, two outputs; lines have their unit's colour."""
    inputs = [(left, 110.0), (left, 210.0)]
    hidden = [(left + 105, 70.0 + 90 * k) for k in range(3)]
    outputs = [(left + 210, 110.0), (left + 210, 210.0)]
    parts = []
    for place, unit in zip(hidden, order, strict=True):
        for end in (*inputs, *outputs):
            parts.append(svg.line([end, place], stroke=UNITS[unit][0], width=2))
    for place in (*inputs, *outputs):
        parts.append(svg.circle(*place, 15))
    for place, unit in zip(hidden, order, strict=True):
        parts += _unit(place, unit)
    return parts


def _unit(place: tuple[float, float], unit: str, radius: float = 18) -> list[str]:
    line, area = UNITS[unit]
    return [
        svg.circle(*place, radius, fill=area, stroke=line),
        svg.text(place[0], place[1] + 5, unit, size=16, bold=True),
    ]


def alignment() -> str:
    """Two members whose units stand in other orders: averaged as they are, and aligned first."""
    parts = []
    for left, title, second, result in (
        (40, "averaged as they are", "cab", ("a + c", "b + a", "c + b")),
        (390, "aligned, then averaged", "abc", ("a", "b", "c")),
    ):
        parts.append(svg.text(left + 140, 24, title, size=16, bold=True))
        for x, name in ((left + 20, "member 0"), (left + 120, "member 1"), (left + 240, "average")):
            parts.append(svg.text(x, 56, name, size=13, fill=svg.SOFT))
        for row in range(3):
            y = 92 + 58 * row
            parts += _unit((left + 20, y), "abc"[row])
            parts.append(svg.text(left + 70, y + 6, "+", size=18))
            parts += _unit((left + 120, y), second[row])
            parts.append(svg.arrow([(left + 150, y), (left + 198, y)]))
            if len(result[row]) == 1:
                parts += _unit((left + 240, y), result[row])
            else:
                parts.append(svg.box(left + 206, y - 18, 68, 36, radius=18))
                parts.append(svg.text(left + 240, y + 5, result[row], size=15))
    for x, lines in (
        (180, ("features that have nothing to do with", "each other are mixed")),
        (530, ("T brings the units of member 1 to", "where member 0 has them")),
    ):
        parts += [
            svg.text(x, 262 + 18 * k, words, size=13, fill=svg.SOFT)
            for k, words in enumerate(lines)
        ]
    return svg.drawing(710, 296, parts)


def least_squares() -> str:
    """One layer of the fold: its input, what it should put out, and the weights that are solved."""
    parts = [
        *_stage(16, 150, 168, ("X", "what the folded layers", "before it give"), GREY),
        *_stage(262, 150, 168, ("W, b", "solved: no step of", "training, no label"), BLUE),
        *_stage(518, 150, 176, ("X W + b", "what the folded", "layer puts out"), GREY),
        *_stage(518, 16, 176, ("T", "what the members'", "layers put out"), ORANGE),
        svg.arrow([(184, 195), (262, 195)]),
        svg.arrow([(430, 195), (518, 195)]),
        svg.line([(606, 106), (606, 150)], stroke=svg.GREEN, width=3, dashed=True),
        svg.text(594, 133, "as near as possible", size=14, fill=svg.GREEN, anchor="end", bold=True),
        svg.text(100, 60, "the same examples", size=14, fill=svg.SOFT),
        svg.arrow([(184, 55), (518, 55)]),
        svg.arrow([(100, 72), (100, 150)]),
    ]
    return svg.drawing(710, 256, parts)


def _stage(x: float, y: float, width: float, words: Sequence[str], colour: Colour) -> list[str]:
    line, area = colour
    return [
        svg.box(x, y, width, 90, fill=area, stroke=line),
        svg.text(x + width / 2, y + 32, words[0], size=18, bold=True),
        *(
            svg.text(x + width / 2, y + 54 + 19 * k, text, size=13)
            for k, text in enumerate(words[1:])
        ),
    ]
