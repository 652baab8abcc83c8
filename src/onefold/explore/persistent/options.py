"""The numbers that govern the rounds, and the annealing.

The annealing factor s is 1 up to the fraction a of a round's steps, falls linearly to 0 at b, and
stays 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from onefold.errors import PersistentError

# Options that a state carries, as that of an optimiser does.
OPTIONS = ("steps_per_round", "strength", "width", "anneal", "memory", "control", "mirror", "seed")
SAME, NEW = "same", "new"


def annealed(done: float, anneal: tuple[float, float]) -> float:
    """The factor s at the fraction `done` of a round, anneal = (a, b); exactly 0 from b on."""
    begin, end = anneal
    if done >= end:
        return 0.0
    return 1.0 if done <= begin else (end - done) / (end - begin)


def check_options(
    steps_per_round: Any, strength: Any, width: Any, anneal: Any, memory: Any, seed: Any
) -> None:
    """Check the numbers that govern the rounds.

    Raises:
        PersistentError: one of them is out of its range.
    """
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


def check_reference(kernel: str, compares_predictions: bool, reference: object) -> None:
    """Check that there is a reference batch if and only if the kernel compares predictions.

    Raises:
        PersistentError: the batch is missing, or is one too many.
    """
    if compares_predictions and reference is None:
        raise PersistentError(
            f"The kernel '{kernel}' compares predictions; pass reference=, a small batch."
        )
    if not compares_predictions and reference is not None:
        raise PersistentError(f"The kernel '{kernel}' compares parameters; leave reference= out.")


def check_order(order: str) -> None:
    """Check the order of the data in a round.

    Raises:
        PersistentError: there is no such order.
    """
    if order not in (SAME, NEW):
        raise PersistentError(
            f"The data's order in a round is the '{SAME}' as in the first or a '{NEW}' one, not"
            f" '{order}'."
        )


def check_same_run(state: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Check that a saved state is of a run of the same kind as the current one.

    Raises:
        PersistentError: kernel, scope or precision differ.
    """
    for name in ("kernel", "scope", "precision"):
        if state.get(name) != current[name]:
            raise PersistentError(
                f"The state is of a run with another {name} ({_brief(state.get(name))}, not"
                f" {_brief(current[name])}); make it alike first."
            )


def _brief(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
