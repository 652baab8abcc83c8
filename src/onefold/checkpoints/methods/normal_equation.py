"""Weighted least squares on the inputs' side of matrices, with a filter of the spectrum.

Several methods minimise sum_i <M - T_i, (M - T_i) A_i> over M, with targets T_i (m, n) and
symmetric A_i (n, n) that say which inputs count for model i. The minimum solves

    M C = D,    C = sum_i A_i,    D = sum_i T_i A_i

With C = V L V^T and a filter f of the eigenvalues, from 0 (stay) to 1 (solve),

    M = M_0 (I - V f(L) V^T) + D V (f(L) / L) V^T

A_i = X_i^T X_i of inputs is RegMean (arXiv 2212.09849); A_i = delta_i^T delta_i / |delta_i|^2 is
WUDI (arXiv 2503.08099). f = 1 - exp(-L t) is what gradient flow of length t reaches from M_0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from onefold.checkpoints.methods.lazily import torch

if TYPE_CHECKING:
    from torch import Tensor

Spectrum = Callable[["Tensor"], tuple["Tensor", "Tensor"]]


def solved(start: Tensor, matrix: Tensor, right: Tensor, spectrum: Spectrum) -> Tensor:
    """M of the equation above; (m, n), of the dtype of `start`.

    Args:
        start: M_0, (m, n).
        matrix: C, (n, n), symmetric and without negative eigenvalues.
        right: D, (m, n).
        spectrum: ascending eigenvalues (n,) -> f and f / L. Both are finite where L is 0.
    """
    values, vectors = torch.linalg.eigh(matrix)
    share, over = spectrum(values.clamp(min=0))
    change = (right @ vectors) * over - (start @ vectors) * share
    merged: Tensor = start + change @ vectors.T
    return merged


def flow(time: float, kept: int | None = None) -> Spectrum:
    """The filter of gradient flow.

    Args:
        time: length of the flow; 0 stays at the start.
        kept: number of the largest eigenvalues that are solved for; None: all.
    """

    def spectrum(values: Tensor) -> tuple[Tensor, Tensor]:
        share = -torch.expm1(-values * time)
        over = torch.where(values * time > 1e-12, share / values.clamp(min=1e-300), time)
        if kept is not None:
            dropped = torch.arange(len(values)) < len(values) - kept
            share, over = share.masked_fill(dropped, 0.0), over.masked_fill(dropped, 0.0)
        return share, over

    return spectrum
