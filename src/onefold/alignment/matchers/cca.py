"""CCA Merge: map features by canonical correlation analysis.

With regularised covariances S~ = S + gamma (tr S / C) I and the singular value decomposition
    S~_rr^(-1/2)  S_rk  S~_kk^(-1/2) = U diag(rho) V'
member k's features are mapped to the reference's basis by
    T_k = S~_rr^(1/2) U V' S~_kk^(-1/2),      T_k^(-1) = S~_kk^(1/2) V U' S~_rr^(-1/2).
Producers of the features get T_k, their consumers its inverse; rho are the canonical correlations.

Horoi, Camacho, Belilovsky & Wolf 2024, "Harmony in Diversity: Merging Neural Networks with Canonical Correlation Analysis"
(arXiv 2407.05385). The scale-free form of the ridge is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from onefold.alignment.matchers import Match, Matcher, matchers
from onefold.alignment.matchers.dense import regularised, roots
from onefold.alignment.moments import Moments
from onefold.symmetry import GroupMap


@matchers.register("cca")
@dataclass(frozen=True)
class CCA(Matcher):
    """Canonical correlation analysis (CCA Merge); approximate through nonlinearities, so measure each mapped member alone."""

    regularisation: float = 0.1

    dense = True
    covariances = True
    probe = "pre"

    def match(self, moments: Moments, member: int) -> Match:
        assert moments.reference is not None
        root_r, inverse_r, _ = roots(regularised(moments.covariance(moments.reference), self.regularisation))
        root_k, inverse_k, _ = roots(regularised(moments.covariance(member), self.regularisation))
        u, rho, vh = torch.linalg.svd(inverse_r @ moments.cross_covariance(member) @ inverse_k)
        rotation = u @ vh
        forward = root_r @ rotation @ inverse_k
        inverse = root_k @ rotation.T @ inverse_r
        return Match(GroupMap("dense", forward, inverse), rho, float(torch.linalg.cond(forward)))
