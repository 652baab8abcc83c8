"""Sums of tensors as figures: lengths, cosines and shares of one tensor, a layer or everything."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onefold.checkpoints.comparison.results import Change, Matrix

if TYPE_CHECKING:
    from onefold.checkpoints.comparison.measures import Sums

OUTSIDE = "outside of layers"


@dataclass(frozen=True)
class Measured:
    """The sums of one tensor.

    Attributes:
        name: the tensor.
        axes: how many it has.
        holders: the checkpoints (from 0, the origin) that have it in the origin's shape.
        sums: in the order of the holders.
        floating: for each holder, whether its values are floating numbers.
    """

    name: str
    axes: int
    holders: tuple[int, ...]
    sums: Sums
    floating: tuple[bool, ...]


def layer_of(name: str) -> str:
    """The name of a tensor up to its first integer, such as "model.layers.3"."""
    parts = name.split(".")
    for i, part in enumerate(parts):
        if part.isascii() and part.isdigit():
            return ".".join(parts[: i + 1])
    return OUTSIDE


def change_of(name: str, measured: Sequence[Measured], count: int) -> Change:
    """The change of several tensors together.

    Args:
        name: of the group.
        measured: its tensors.
        count: of all checkpoints, the origin among them.
    """
    places = [{k: i for i, k in enumerate(one.holders)} for one in measured]
    pairs = list(zip(measured, places, strict=True))

    def summed(k: int, j: int, value: Callable[[Sums, int, int], float]) -> float:
        return math.fsum(value(one.sums, at[k], at[j]) for one, at in pairs if k in at and j in at)

    def cosine(k: int, j: int) -> float | None:
        one = summed(k, j, lambda s, a, b: float(s.products[a, a]))
        other = summed(k, j, lambda s, a, b: float(s.products[b, b]))
        if one <= 0 or other <= 0:
            return None
        product = summed(k, j, lambda s, a, b: float(s.products[a, b]))
        return max(-1.0, min(1.0, product / math.sqrt(one) / math.sqrt(other)))

    def conflict(k: int, j: int) -> float | None:
        both = summed(k, j, lambda s, a, b: int(s.both[a, b]))
        opposite = summed(k, j, lambda s, a, b: int(s.opposite[a, b]))
        return opposite / both if k != j and both else None

    equal = tuple(
        sum(k in at and not one.sums.different[at[k]] for one, at in pairs) for k in range(1, count)
    )
    norm = math.sqrt(math.fsum(float(one.sums.squares[0]) for one in measured))
    relative = tuple(relative_of(measured, k) for k in range(1, count))
    return Change(
        name, len(measured), norm, relative, _matrix(cosine, count), _matrix(conflict, count), equal
    )


def relative_of(measured: Sequence[Measured], k: int) -> float | None:
    """The length of a checkpoint's task vector over that of the origin's weights."""
    change, weights = [], []
    for one in measured:
        at = one.holders.index(k) if k in one.holders else -1
        if at > 0 and one.floating[at] and one.floating[0]:
            change.append(float(one.sums.products[at, at]))
            weights.append(float(one.sums.squares[0]))
    whole = math.fsum(weights)
    return math.sqrt(math.fsum(change) / whole) if whole > 0 else None


def _matrix(value: Callable[[int, int], float | None], count: int) -> Matrix:
    members = range(1, count)
    half = {(k, j): value(k, j) for k in members for j in members if j >= k}
    return tuple(tuple(half[min(k, j), max(k, j)] for j in members) for k in members)
