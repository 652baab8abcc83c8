"""The widest map that keeps every member's function: rotations where the network lets them through,
permutations elsewhere.

The residual stream of a transformer that normalises before its branches turns as a whole, queries
with keys and values with outputs take any invertible map of their own in each head, and units
behind a nonlinearity change places only. Rotations by Procrustes (see `procrustes`), queries and
keys by `balanced`. Unlike with the other dense matchers each mapped member computes exactly what it
did, so that what is lost is lost in averaging alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from onefold.alignment.matchers.base import matchers
from onefold.alignment.matchers.procrustes import Procrustes


@matchers.register("rotation")
@dataclass(frozen=True)
class Rotation(Procrustes):
    """Rotations where they keep the function, permutations elsewhere."""

    prior: float = 0.0

    exact = True
