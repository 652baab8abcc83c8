"""Rotation: the widest maps that leave every member's function unchanged.

The residual stream of a transformer that normalises before its branches takes a rotation as a
whole. Queries with keys, and values with outputs, take any invertible map in each head. Units
behind a nonlinearity take permutations only. Rotations are found by `procrustes`, the maps of
queries and keys by `balanced`. Unlike with the other dense matchers each mapped member computes
exactly what it did before, so that everything that is lost is lost in averaging.
"""

from __future__ import annotations

from dataclasses import dataclass

from onefold.alignment.matchers.base import feature_matchers
from onefold.alignment.matchers.procrustes import Procrustes


@feature_matchers.register("rotation")
@dataclass(frozen=True)
class Rotation(Procrustes):
    """Rotations of features that may rotate, permutations of the others; keeps the function.

    Attributes:
        prior: the weight pi of the best permutation, relative to the features' mean variances; 0
            for none.
        fixes_mean: only rotations that leave the all-ones vector, and so the features' mean,
            unchanged.
    """

    prior: float = 0.0

    exact = True
