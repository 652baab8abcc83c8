"""Orthogonal Procrustes: the rotation that brings a member's centred features nearest to the reference's.

    T_k = U V'   with   S_rk = U diag(s) V',    which minimises  E |x_r - T x_k|^2  over orthogonal T.

Schoenemann 1966, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 31. It is the limit of CCA for strong
regularisation and needs no inverse square root.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from onefold.alignment.matchers import Match, Matcher, matchers
from onefold.alignment.moments import Moments
from onefold.symmetry import GroupMap


@matchers.register("procrustes")
@dataclass(frozen=True)
class Procrustes(Matcher):
    """Nearest rotation of the features; the limit of CCA for strong regularisation."""

    dense = True
    covariances = True
    probe = "pre"

    def match(self, moments: Moments, member: int) -> Match:
        assert moments.reference is not None
        u, _, vh = torch.linalg.svd(moments.cross_covariance(member))
        rotation = u @ vh
        # Correlations of the matched coordinates in the basis of the singular vectors: u'x_r against v'x_k.
        variance_r = torch.einsum("ci,cd,di->i", u, moments.covariance(moments.reference), u)
        variance_k = torch.einsum("ic,cd,id->i", vh, moments.covariance(member), vh)
        shared = torch.einsum("ci,cd,id->i", u, moments.cross_covariance(member), vh)
        scale = (variance_r * variance_k).clamp_min(0.0).sqrt()
        scores = torch.where(scale > 1e-12, shared / scale.clamp_min(1e-12), 0.0)
        return Match(GroupMap("dense", rotation, rotation.T), scores.sort(descending=True).values)
