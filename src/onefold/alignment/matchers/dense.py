"""Shared linear algebra of the dense matchers: covariances with a ridge and a prior, their
symmetric roots, and honest correlations.

Ridge and prior are relative to the mean variances t_r = tr S_rr / C and t_k, so that they do not
    depend on the features' scale: S~_rr = S_rr + (gamma + pi) t_r I,    S~_kk = S_kk + (gamma + pi)
    t_k I,    S~_rk = S_rk + pi (t_r t_k)^(1/2) P_k
with P_k the best permutation. The prior pi acts like further samples in which every unit agrees
with its match. It decides where the data do not (units that hardly ever fire, directions without
variance), and leads from the free dense map (0) to the permutation (large).
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
    """S~_rr, S~_kk and S~_rk, each (C, C), float64."""

    reference: Tensor
    member: Tensor
    cross: Tensor


def shrunk(moments: Features, member: int, regularization: float, prior: float) -> Covariances:
    """The covariances with ridge and prior; see above.

    Raises AlignmentError where a setting is negative or not finite, or the features never vary.
    """
    for name, value in (("regularization", regularization), ("prior", prior)):
        if not math.isfinite(value) or value < 0:
            raise AlignmentError(f"The {name} is {value}; it must be 0 or greater.")
    assert moments.reference is not None
    own, other, cross = (
        moments.covariance(moments.reference),
        moments.covariance(member),
        moments.cross_covariance(member),
    )
    scale_own, scale_other = own.diagonal().mean(), other.diagonal().mean()
    if not (scale_own > 0 and scale_other > 0):
        raise AlignmentError(
            "A group's features never vary on the calibration data; pass more varied data or use"
            " align='permutation'."
        )
    eye = torch.eye(moments.width, dtype=own.dtype, device=own.device)
    ridge = regularization + prior
    if prior > 0:
        cross = (
            cross
            + prior
            * (scale_own * scale_other).sqrt()
            * eye[best_permutation(moments, member).to(eye.device)]
        )
    return Covariances(own + ridge * scale_own * eye, other + ridge * scale_other * eye, cross)


def placed(moments: Features, member: int) -> Tensor:
    """The best permutation as a matrix P_k (C, C), float64."""
    eye = torch.eye(moments.width, dtype=torch.float64)
    return eye[best_permutation(moments, member)]


def resolved(u: Tensor, s: Tensor, vh: Tensor, preferred: Callable[[], Tensor]) -> Tensor:
    """U (C, C) of a singular value decomposition, whose last columns are turned so that U V' is
    nearest to `preferred()` there.

    Features of fewer dimensions than units leave directions in which every rotation is as good as
    another by the data. Features vary there no more, but their means do not vanish: an arbitrary
    rotation would mix units that lie far from zero.
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
    """Correlations (C,), descending, of left[:, i]' x_r with right[:, i]' x_k on the data
    themselves, without ridge or prior.

    0 where a combination hardly varies beside the others, so that its correlation would be one of
    rounding errors.
    """
    assert moments.reference is not None
    own = torch.einsum("ci,cd,di->i", left, moments.covariance(moments.reference), left)
    other = torch.einsum("ci,cd,di->i", right, moments.covariance(member), right)
    shared = torch.einsum("ci,cd,di->i", left, moments.cross_covariance(member), right)
    scale = (own * other).clamp_min(0.0).sqrt()
    found = torch.where(scale > NOISE * scale.max(), shared / scale.clamp_min(1e-300), 0.0).clamp(
        -1.0, 1.0
    )
    return found.sort(descending=True).values
