"""The axis of a chart of scores: which part of it is shown, its lines, and how numbers are written.

Better is always farther up. Of scores of which less is better the axis is turned round, and its
title says so. Heights are therefore values as `Score.better` turns them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onefold.tasks.score import Score

REACH = 1.6  # how far below the compared networks the axis goes, in their own range
LEAST = 0.04  # of a whole: the axis reaches at least so far below
PAD = 0.002  # of a whole, above the highest point
MOST_LINES = 7


@dataclass(frozen=True)
class Axis:
    """The part of an axis that is shown.

    Attributes:
        kind: the score.
        low: the lowest height.
        high: the highest height.
    """

    kind: Score
    low: float
    high: float

    @property
    def step(self) -> float:
        """The distance of lines of a round number, at most seven of them."""
        rough = (self.high - self.low) / MOST_LINES
        power: float = 10.0 ** math.floor(math.log10(rough))
        return next((m * power for m in (1, 2, 5) if m * power >= rough), 10 * power)

    @property
    def lines(self) -> list[float]:
        """The heights of lines."""
        first = math.ceil(self.low / self.step - 1e-9)
        last = math.floor(self.high / self.step + 1e-9)
        return [k * self.step for k in range(first, last + 1)]

    @property
    def title(self) -> str:
        """The name of the axis, with unit and direction."""
        name = f"{self.kind.label}, {self.kind.unit}" if self.kind.unit else self.kind.label
        return f"{name} (lower is better, lowest on top)" if self.kind.highest is False else name

    def at_line(self, height: float) -> str:
        """The number beside a line."""
        return self._written(height, 0)

    def of_point(self, height: float) -> str:
        """The number beside a point, with a digit more than the lines have."""
        if math.isinf(height):
            return "inf"
        return f"{self._value(height):.1f}" if self.kind.unit == "%" else self._written(height, 1)

    def _value(self, height: float) -> float:
        """The number that is shown for a height; 0 without a sign."""
        turned = -height if self.kind.highest is False else height
        return self.kind.scale * turned + 0.0

    def _written(self, height: float, more: int) -> str:
        places = -math.floor(math.log10(self.kind.scale * self.step) + 1e-9)
        return f"{self._value(height):,.{max(0, places + more)}f}"


def axis_of(
    kind: Score, points: Sequence[tuple[float, float]], core: Sequence[tuple[float, float]]
) -> Axis:
    """The axis for points, so that the core of them stays apart.

    Args:
        kind: the score.
        points: a height and its standard error for each; heights may be infinite.
        core: those that must be told apart.
    """
    finite = [one for one in points if math.isfinite(one[0])]
    if not finite:
        return Axis(kind, 0.0, 1.0)
    core = [one for one in core if math.isfinite(one[0])] or finite
    whole = 1.0 if kind.unit == "%" else max(abs(height) for height, _ in core) or 1.0
    high = max(height + error for height, error in finite)
    least = min(height - error for height, error in core)
    floor = least - max(REACH * (high - least), LEAST * whole)
    low = min((height - error for height, error in finite if height >= floor), default=least)
    pad = max(0.06 * (high - low), PAD * whole)
    low, high = low - 2 * pad, high + pad
    if kind.unit == "%":  # a share lies between 0 and 1
        turned = kind.highest is False
        low, high = max(low, -1.0 if turned else 0.0), min(high, pad + (0.0 if turned else 1.0))
    return Axis(kind, low, high)


__all__ = ["Axis", "axis_of"]
