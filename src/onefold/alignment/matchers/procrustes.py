"""Orthogonal Procrustes: the rotation that brings a member's centred features nearest to the
reference's.

    T_k = U V'   with   S~_rk = U diag(s) V',    which for prior 0 minimises  E |x_r - T x_k|^2
    over orthogonal T.

Where the rotation must leave the all-ones vector as it is (T 1 = 1, for layer norm), T = P (U V')
P' + 1 1' / C with P an orthonormal basis of what is orthogonal to ones, and U, V from P' S_rk P.

Schoenemann 1966, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 31.
It is the limit of CCA for strong regularization and needs no inverse square root. The permutation
prior (see `dense`) is ours; prior=0 is the classical solution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from onefold.alignment.features import Features
from onefold.alignment.matchers.base import Match, Matcher, matchers
from onefold.alignment.matchers.dense import matched_correlations, placed, resolved, shrunk
from onefold.symmetry import GroupMap


@matchers.register("procrustes")
@dataclass(frozen=True)
class Procrustes(Matcher):
    """Nearest rotation of the features; the limit of CCA for strong regularization, and level with
    it after repair.
    """

    prior: float = 0.1
    fixes_mean: bool = False

    dense = True
    inverts = True
    covariances = True

    def match(self, moments: Features, member: int) -> Match:
        cross = shrunk(moments, member, 0.0, self.prior).cross
        if not self.fixes_mean:
            u, s, vh = torch.linalg.svd(cross)
            u = resolved(u, s, vh, lambda: placed(moments, member))
            rotation = u @ vh
        else:
            ones = torch.full(
                (len(cross), 1), len(cross) ** -0.5, dtype=cross.dtype, device=cross.device
            )
            basis = torch.linalg.qr(ones, mode="complete").Q[:, 1:]
            u, s, vh = torch.linalg.svd(basis.T @ cross @ basis)
            u = resolved(u, s, vh, lambda: basis.T @ placed(moments, member).to(basis) @ basis)
            u, vh = torch.cat([ones, basis @ u], 1), torch.cat([ones, basis @ vh.T], 1).T
            rotation = u @ vh
        return Match(
            GroupMap("dense", rotation, rotation.T.contiguous()),
            matched_correlations(moments, member, u, vh.T),
        )
