"""Orthogonal Procrustes: the rotation of a member's centred features onto the reference's.

    T_k = U V'   with   S~_rk = U diag(s) V'

For prior 0 this minimises E |x_r - T x_k|^2 over orthogonal T. S~_rk is that of `dense`, without a
ridge. If the rotation must leave the all-ones vector as it is (T 1 = 1, for layer norm),

    T_k = P U V' P' + 1 1' / C   with   P' S~_rk P = U diag(s) V'

and P an orthonormal basis of the vectors orthogonal to ones.

It is the limit of CCA for strong regularization and needs no inverse square root. Schoenemann 1966,
"A generalized solution of the orthogonal Procrustes problem", Psychometrika 31. The permutation
prior (see `dense`) is ours; prior=0 is the classical solution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from onefold.alignment.features import Features
from onefold.alignment.matchers.base import Match, Matcher, feature_matchers
from onefold.alignment.matchers.dense import matched_correlations, placed, resolved, shrunk
from onefold.symmetry import GroupMap


@feature_matchers.register("procrustes")
@dataclass(frozen=True)
class Procrustes(Matcher):
    """Nearest rotation of the features; the limit of CCA for strong regularization.

    After repair it is level with CCA.

    Attributes:
        prior: the weight pi of the best permutation, relative to the features' mean variances; 0
            for none, which is the classical solution.
        fixes_mean: only rotations that leave the all-ones vector, and so the features' mean,
            unchanged.
    """

    prior: float = 0.1
    fixes_mean: bool = False

    dense = True
    inverts = True
    covariances = True

    def match(self, moments: Features, member: int) -> Match:
        """Map `member` to the reference by a rotation.

        Raises:
            AlignmentError: the prior is negative or not finite, or features never vary.
        """
        cross = shrunk(moments, member, 0.0, self.prior).cross
        if not self.fixes_mean:
            u, s, vh = torch.linalg.svd(cross)
            u = resolved(u, s, vh, lambda: placed(moments, member))
            rotation = u @ vh
        else:
            width = len(cross)
            ones = torch.full((width, 1), width**-0.5, dtype=cross.dtype, device=cross.device)
            basis = torch.linalg.qr(ones, mode="complete").Q[:, 1:]
            u, s, vh = torch.linalg.svd(basis.T @ cross @ basis)
            u = resolved(u, s, vh, lambda: basis.T @ placed(moments, member).to(basis) @ basis)
            u, vh = torch.cat([ones, basis @ u], 1), torch.cat([ones, basis @ vh.T], 1).T
            rotation = u @ vh
        return Match(
            GroupMap("dense", rotation, rotation.T.contiguous()),
            matched_correlations(moments, member, u, vh.T),
        )
