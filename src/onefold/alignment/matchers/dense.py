"""Shared linear algebra of the dense matchers: covariances, their roots, and correlations.

The covariances have a ridge gamma and a prior pi. Both are relative to the mean variances
t_r = tr S_rr / C and t_k, so that they do not depend on the features' scale:

    S~_rr = S_rr + (gamma + pi) t_r I
    S~_kk = S_kk + (gamma + pi) t_k I
    S~_rk = S_rk + pi (t_r t_k)^(1/2) P_k

P_k is the best permutation. The prior acts like further samples in which every unit agrees with its
match. It decides where the data do not: units that hardly ever fire, directions without variance.
It leads from the free dense map (0) to the permutation (large).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from onefold.alignment.features import Features
from onefold.alignment.matchers.permutation import best_permutation
from onefold.errors import AlignmentError

NOISE = 1e-6  # of the largest variance: products of float32 features are not exact to more


@dataclass(frozen=True)
class Covariances:
    """Covariances with ridge and prior, each (C, C), float64.

    Attributes:
        reference: S~_rr.
        member: S~_kk.
        cross: S~_rk.
    """

    reference: Tensor
    member: Tensor
    cross: Tensor


def shrunk(moments: Features, member: int, regularization: float, prior: float) -> Covariances:
    """The covariances of the reference and a member, with ridge and prior.

    Args:
        moments: of the features.
        member: the member.
        regularization: gamma.
        prior: pi.

    Raises:
        AlignmentError: a setting is negative or not finite, or the features never vary.
    """
    for name, value in (("regularization", regularization), ("prior", prior)):
        if not math.isfinite(value) or value < 0:
            raise AlignmentError(f"The {name} is {value}; it must be 0 or greater.")
    assert moments.reference is not None
    s_rr = moments.covariance(moments.reference)
    s_kk = moments.covariance(member)
    s_rk = moments.cross_covariance(member)
    t_r, t_k = s_rr.diagonal().mean(), s_kk.diagonal().mean()
    if not (t_r > 0 and t_k > 0):
        raise AlignmentError(
            "A group's features never vary on the calibration data; pass more varied data or use"
            " align='permutation'."
        )
    eye = torch.eye(moments.width, dtype=s_rr.dtype, device=s_rr.device)
    ridge = regularization + prior
    if prior > 0:
        p_k = eye[best_permutation(moments, member).to(eye.device)]
        s_rk = s_rk + prior * (t_r * t_k).sqrt() * p_k
    return Covariances(s_rr + ridge * t_r * eye, s_kk + ridge * t_k * eye, s_rk)


def placed(moments: Features, member: int) -> Tensor:
    """The best permutation as a matrix P_k (C, C), float64."""
    eye = torch.eye(moments.width, dtype=torch.float64)
    return eye[best_permutation(moments, member)]


def resolved(u: Tensor, s: Tensor, vh: Tensor, preferred: Callable[[], Tensor]) -> Tensor:
    """U (C, C) of a singular value decomposition, with its columns of no variance chosen anew.

    These columns are rotated so that U V' is nearest to `preferred()` there. Features of fewer
    dimensions than units leave directions in which the data favour no rotation. Features do not
    vary there, but their means do not vanish: an arbitrary rotation would mix units that lie far
    from zero.

    Args:
        u: (C, C), the left singular vectors.
        s: (C,), the singular values, descending.
        vh: (C, C), the right singular vectors, transposed.
        preferred: a function that returns the preferred map (C, C).
    """
    null = s <= NOISE * s[0]
    if not bool(null.any()):
        return u
    left, right = u[:, null], vh[null]
    a, _, b = torch.linalg.svd(left.T @ preferred().to(u) @ right.T)
    return torch.cat([u[:, ~null], left @ (a @ b)], 1)


def roots(matrix: Tensor, floor: float = 1e-10) -> tuple[Tensor, Tensor]:
    """Square root and inverse square root, both (C, C), of a symmetric positive matrix.

    Eigenvalues below `floor` times the largest are raised to it, so that directions without
    variance do not explode.
    """
    values, vectors = torch.linalg.eigh(matrix)
    values = values.clamp_min(floor * float(values[-1]))
    return (vectors * values.sqrt()) @ vectors.T, (vectors * values.rsqrt()) @ vectors.T


def matched_correlations(moments: Features, member: int, left: Tensor, right: Tensor) -> Tensor:
    """Correlations (C,), descending, of left[:, i]' x_r with right[:, i]' x_k on the data.

    They are without ridge or prior. A combination that hardly varies beside the others gets 0, as
    its correlation would be one of rounding errors.
    """
    assert moments.reference is not None
    var_r = torch.einsum("ci,cd,di->i", left, moments.covariance(moments.reference), left)
    var_k = torch.einsum("ci,cd,di->i", right, moments.covariance(member), right)
    cov = torch.einsum("ci,cd,di->i", left, moments.cross_covariance(member), right)
    scale = (var_r * var_k).clamp_min(0.0).sqrt()
    ratios = torch.where(scale > NOISE * scale.max(), cov / scale.clamp_min(1e-300), 0.0)
    return ratios.clamp(-1.0, 1.0).sort(descending=True).values
