"""Shared linear algebra of the dense matchers: regularised covariances and their symmetric square roots."""

from __future__ import annotations

import torch
from torch import Tensor

from onefold.errors import AlignmentError


def regularised(covariance: Tensor, regularisation: float) -> Tensor:
    """S + gamma (tr S / C) I: the ridge is relative to the mean variance, so that it does not depend on the features' scale.

    Raises AlignmentError where the features never vary or gamma is negative.
    """
    if regularisation < 0:
        raise AlignmentError(f"The regularisation is {regularisation}; it must be 0 or greater.")
    mean_variance = covariance.diagonal().mean()
    if not mean_variance > 0:
        raise AlignmentError("A group's features never vary on the calibration data; pass more varied data or use align='permutation'.")
    return covariance + regularisation * mean_variance * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)


def roots(matrix: Tensor, floor: float = 1e-10) -> tuple[Tensor, Tensor, float]:
    """Square root, inverse square root (both (C, C)) and condition number of a symmetric positive matrix.

    Eigenvalues below `floor` times the largest are raised to it, so that directions without variance do not explode.
    """
    values, vectors = torch.linalg.eigh(matrix)
    values = values.clamp_min(floor * float(values[-1]))
    root = (vectors * values.sqrt()) @ vectors.T
    inverse = (vectors * values.rsqrt()) @ vectors.T
    return root, inverse, float(values[-1] / values[0])
