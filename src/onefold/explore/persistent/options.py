"""The numbers that govern the rounds, and the annealing: s is 1 up to the fraction a of a round's
steps, falls linearly to 0 at b, and stays 0.
"""

from __future__ import annotations

import math
from typing import Any

from onefold.errors import PersistentError


def annealed(done: float, anneal: tuple[float, float]) -> float:
    """s at the fraction `done` of a round, anneal = (a, b); exactly 0 from b on."""
    begin, end = anneal
    if done >= end:
        return 0.0
    return 1.0 if done <= begin else (end - done) / (end - begin)


def check_options(
    steps_per_round: Any, strength: Any, width: Any, anneal: Any, memory: Any, seed: Any
) -> None:
    """Raises PersistentError where one of them is out of its range."""
    if not _whole(steps_per_round, 1):
        raise PersistentError(
            "A round has a whole number of steps, at least 1, not"
            f" steps_per_round={steps_per_round!r}."
        )
    if not (_number(strength) and strength >= 0):
        raise PersistentError(f"The strength is a number of 0 or more, not {strength!r}.")
    if not (_number(width) and width > 0):
        raise PersistentError(f"The width is a number above 0, not {width!r}.")
    if not (
        isinstance(anneal, tuple | list)
        and len(anneal) == 2
        and all(map(_number, anneal))
        and 0 <= anneal[0] <= anneal[1] <= 1
    ):
        raise PersistentError(
            f"anneal=(a, b) are two fractions of a round, 0 <= a <= b <= 1, not {anneal!r}."
        )
    if memory is not None and not _whole(memory, 1):
        raise PersistentError(
            "memory= is how many of the last solutions repel, at least 1, or None for all, not"
            f" {memory!r}."
        )
    if not _whole(seed, 0):
        raise PersistentError(f"A seed is a whole number of 0 or more, not {seed!r}.")


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
