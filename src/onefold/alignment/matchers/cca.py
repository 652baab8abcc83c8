"""CCA Merge: map features by canonical correlation analysis.

S~ are the covariances of `dense`, with a scale-free ridge gamma and a permutation prior pi. The
singular value decomposition

    S~_rr^(-1/2)  S~_rk  S~_kk^(-1/2) = U diag(s) V'

gives the map of member k's features into the reference's basis:

    T_k      = S~_rr^(1/2) U V' S~_kk^(-1/2)
    T_k^(-1) = S~_kk^(1/2) V U' S~_rr^(-1/2)

Producers of the features get T_k, their consumers its inverse. The scores are the correlations of
the canonical variates on the data themselves; with a prior, single ones may be negative.

Horoi, Camacho, Belilovsky & Wolf 2024, "Harmony in Diversity: Merging Neural Networks with
Canonical Correlation Analysis" (arXiv 2407.05385). The scale-free form of the ridge and the prior
are ours; prior=0 is the paper's method.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from onefold.alignment.features import Features
from onefold.alignment.matchers.base import Match, Matcher, feature_matchers
from onefold.alignment.matchers.dense import matched_correlations, placed, resolved, roots, shrunk
from onefold.symmetry import GroupMap


@feature_matchers.register("cca")
@dataclass(frozen=True)
class CCA(Matcher):
    """Canonical correlation analysis (CCA Merge); approximate through nonlinearities.

    Measure each mapped member alone to see what the approximation costs.

    Attributes:
        regularization: the ridge gamma, relative to the mean variance of each network's features.
        prior: the weight pi of the best permutation, relative to the features' mean variances; 0
            for none, as in the paper.
    """

    # Both were chosen on held-out images, benchmarks/folding.
    regularization: float = 10.0
    prior: float = 0.1

    dense = True
    inverts = True
    covariances = True

    def match(self, moments: Features, member: int) -> Match:
        """Map `member` to the reference by a matrix.

        Raises:
            AlignmentError: a setting is negative or not finite, or features never vary.
        """
        covariances = shrunk(moments, member, self.regularization, self.prior)
        root_r, inverse_r = roots(covariances.reference)
        root_k, inverse_k = roots(covariances.member)
        u, s, vh = torch.linalg.svd(inverse_r @ covariances.cross @ inverse_k)
        u = resolved(u, s, vh, lambda: placed(moments, member))
        rotation = u @ vh
        forward = root_r @ rotation @ inverse_k
        inverse = root_k @ rotation.T @ inverse_r
        scores = matched_correlations(moments, member, inverse_r @ u, inverse_k @ vh.T)
        return Match(GroupMap("dense", forward, inverse), scores, float(torch.linalg.cond(forward)))
