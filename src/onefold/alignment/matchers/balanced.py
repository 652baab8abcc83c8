"""Balanced map: one map for features that are only ever multiplied with others.

Queries q and keys k are an example: q -> T q, k -> T^(-T) k leaves every product k'q unchanged. Of
all invertible T this file finds one that brings both sides near the reference's.

Each network is first transformed into balanced coordinates, in which queries and keys have the same
covariance. With S_q = L L' and L' S_k L = U diag(s^2) U' these are

    B = diag(s)^(1/2) U' L^(-1),      B S_q B' = B^(-T) S_k B^(-1) = diag(s).

In these coordinates the map is a rotation, by Procrustes on queries and keys together:

    B_r S_q,rk B_k' + B_r^(-T) S_k,rk B_k^(-1) = U diag(.) V'
    T = B_r^(-1) U V' B_k

Moore 1981, "Principal component analysis in linear systems", balances controllability and
observability in this way.
"""

from __future__ import annotations

import torch
from torch import Tensor

from onefold.alignment.features import Features
from onefold.alignment.matchers.base import Match
from onefold.alignment.matchers.dense import matched_correlations
from onefold.errors import AlignmentError
from onefold.symmetry import GroupMap


def match_balanced(primal: Features, dual: Features, member: int, ridge: float = 0.1) -> Match:
    """The map of `primal` features, whose inverse transpose acts on `dual` ones.

    Args:
        primal: the features that get T.
        dual: the features that get T^(-T).
        member: the member that is mapped to the reference.
        ridge: added to the diagonals of covariances, relative to their means.

    Raises:
        AlignmentError: features never vary.
    """
    assert primal.reference is not None
    ours = _balance(primal.covariance(primal.reference), dual.covariance(primal.reference), ridge)
    theirs = _balance(primal.covariance(member), dual.covariance(member), ridge)
    inverse_ours, inverse_theirs = torch.linalg.inv(ours), torch.linalg.inv(theirs)
    cross = (
        ours @ primal.cross_covariance(member) @ theirs.T
        + inverse_ours.T @ dual.cross_covariance(member) @ inverse_theirs
    )
    u, _, vh = torch.linalg.svd(cross)
    forward = inverse_ours @ u @ vh @ theirs
    inverse = inverse_theirs @ vh.T @ u.T @ ours
    left, right = ours.T @ u, theirs.T @ vh.T
    scores = matched_correlations(primal, member, left, right)
    dual_scores = matched_correlations(dual, member, inverse_ours @ u, inverse_theirs @ vh.T)
    mean_scores, condition = (scores + dual_scores) / 2, float(torch.linalg.cond(forward))
    return Match(GroupMap("dense", forward, inverse), mean_scores, condition)


def _balance(primal: Tensor, dual: Tensor, ridge: float) -> Tensor:
    """B (C, C), with the ridge added to both covariances."""
    eye = torch.eye(len(primal), dtype=primal.dtype, device=primal.device)
    scales = primal.diagonal().mean(), dual.diagonal().mean()
    if not (scales[0] > 0 and scales[1] > 0):
        raise AlignmentError(
            "A group's features never vary on the calibration data; pass more varied data or use"
            " align='permutation'."
        )
    root = torch.linalg.cholesky(primal + max(ridge, 1e-10) * scales[0] * eye)
    squares, vectors = torch.linalg.eigh(
        root.T @ (dual + max(ridge, 1e-10) * scales[1] * eye) @ root
    )
    half = squares.clamp_min(1e-300).pow(0.25)  # s^(1/2)
    balance: Tensor = torch.linalg.solve_triangular(root.T, vectors, upper=True).T * half[:, None]
    return balance
