"""Orthogonal Procrustes: the rotation that brings a member's centred features nearest to the reference's.

    T_k = U V'   with   S~_rk = U diag(s) V',    which for prior 0 minimises  E |x_r - T x_k|^2  over orthogonal T.

Schoenemann 1966, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 31. It is the limit of CCA for strong
regularisation and needs no inverse square root. The permutation prior (see `dense`) is ours; prior=0 is the classical solution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from onefold.alignment.matchers.base import Match, Matcher, matchers
from onefold.alignment.matchers.dense import matched_correlations, shrunk
from onefold.alignment.moments import Moments
from onefold.symmetry import GroupMap


@matchers.register("procrustes")
@dataclass(frozen=True)
class Procrustes(Matcher):
    """Nearest rotation of the features; the limit of CCA for strong regularisation."""

    prior: float = 0.1

    dense = True
    covariances = True

    def match(self, moments: Moments, member: int) -> Match:
        u, _, vh = torch.linalg.svd(shrunk(moments, member, 0.0, self.prior).cross)
        rotation = u @ vh
        return Match(GroupMap("dense", rotation, rotation.T.contiguous()), matched_correlations(moments, member, u, vh.T))
