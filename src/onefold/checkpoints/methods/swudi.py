"""SWUDI (2026, arXiv 2606.07289): least interference with every model's change, by one solve.

WUDI (Cheng et al. 2025, arXiv 2503.08099) takes the rows of delta_i for the directions that inputs
of task i use, and minimises sum_i |(M - delta_i) delta_i^T|^2 / |delta_i|^2 by gradient steps from
the sum of all delta_i. SWUDI reaches the same point of that path in closed form: the equation of
`normal_equation.py` with A_i = delta_i^T delta_i / |delta_i|^2, targets delta_i and the filter
1 - exp(-L t) of the `rank_fraction` largest eigenvalues.

    merged = theta_0 + lambda * M
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onefold.checkpoints.methods.base import methods
from onefold.checkpoints.methods.lazily import torch
from onefold.checkpoints.methods.normal_equation import flow, solved
from onefold.checkpoints.methods.parameters import setting
from onefold.checkpoints.methods.spectral import MatrixMethod, summed

if TYPE_CHECKING:
    from torch import Tensor


@methods.register("swudi")
@dataclass(frozen=True)
class Swudi(MatrixMethod):
    """The change that interferes least with that of every model, by one eigendecomposition.

    Attributes:
        lambda_: factor of the merged change.
        time: length of the gradient flow from the sum of all changes.
        rank_fraction: the share of the eigenvalues, from the largest on, that is solved for.
    """

    time: float = setting(300.0, low=0.0, help="Length of the flow from the sum of changes.")
    rank_fraction: float = setting(1.0, low=0.0, high=1.0, help="The share of directions solved.")

    copies: ClassVar[int] = 12

    def merged(self, changes: list[Tensor]) -> Tensor:
        """The solution; the mean change where all changes are 0."""
        width = changes[0].shape[1]
        matrix = torch.zeros(width, width, dtype=torch.float64)
        right = torch.zeros(changes[0].shape, dtype=torch.float64)
        for change in changes:
            double = change.double()
            norm = float(double.square().sum())
            if norm < 1e-12:
                continue
            inputs = double.T @ double / norm
            matrix += inputs
            right += double @ inputs
        start = summed(changes).double()
        spectrum = flow(self.time, math.ceil(width * self.rank_fraction))
        return solved(start, matrix, right, spectrum).to(changes[0].dtype)
