"""Methods that work on the singular vectors of what the models changed.

M = sum_i delta_i = U S V^T, delta_i = theta_i - theta_0, r = min(rows, columns), n models.

Iso-C (Marczak et al. 2025, arXiv 2502.04959): a flat spectrum,

    merged = theta_0 + lambda * mean(S) * U V^T

Iso-CTS (same paper): of U and V the leading `common_fraction` are kept. The rest is shared out
between the models: each gives its leading directions of delta_i without the common ones, (I - Uc
Uc^T) delta_i. All of them side by side are made orthogonal by their polar factors, and the spectrum
is flat at the mean of all singular values.

TSV-M (Gargiulo et al. 2025, arXiv 2412.00081): each model gives its leading r / n singular
triplets. U and V, side by side, are made orthogonal by their polar factors; the values stay.

Tensors of more than two dimensions are matrices with a row for each index of the first one. Those
of fewer get the mean change.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from onefold.checkpoints.methods.base import Method, Prepared, TensorInputs, methods
from onefold.checkpoints.methods.lazily import torch
from onefold.checkpoints.methods.parameters import setting

if TYPE_CHECKING:
    from torch import Tensor

SCALE = "Factor of the merged change."


@dataclass(frozen=True)
class MatrixMethod(Method):
    """Base of methods that merge matrices of changes as a whole.

    Attributes:
        lambda_: factor of the merged change.
    """

    lambda_: float = setting(1.0, name="lambda", help=SCALE)

    needs_base: ClassVar[bool] = True
    scales: ClassVar[tuple[str, ...]] = ("lambda",)
    copies: ClassVar[int] = 6  # of a matrix in the dtype of the computation, beside the changes

    @abstractmethod
    def merged(self, changes: list[Tensor]) -> Tensor:
        """The merged change of matrices, without the factor.

        Args:
            changes: (m, n) of each model.
        """

    def facts(self, inputs: TensorInputs) -> Tensor:
        """The merged change, flat, without the factor."""
        changes = [inputs.delta(i, 0, inputs.numel) for i in range(len(inputs.tensors))]
        if len(inputs.shape) < 2:
            return torch.stack(changes).mean(0)
        return self.merged([change.view(inputs.shape[0], -1) for change in changes]).reshape(-1)

    def block(self, prepared: Prepared, plan: Any, start: int, stop: int) -> Tensor:
        """The base and the merged change."""
        change: Tensor = prepared.facts[start:stop]
        return torch.mul(change, self.lambda_).add_(prepared.inputs.read(-1, start, stop))

    def working_bytes(self, shape: Sequence[int], models: int) -> int:
        """An upper estimate of the memory that one tensor takes beside inputs and result."""
        return 4 * math.prod(shape) * (models + self.copies)


def polar(matrix: Tensor) -> Tensor:
    """The nearest matrix with orthonormal columns, or rows if there are fewer of them."""
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    found: Tensor = left @ right
    return found


def summed(changes: list[Tensor]) -> Tensor:
    """The sum of the changes."""
    found = changes[0].clone()
    for change in changes[1:]:
        found += change
    return found


@methods.register("iso_c")
@dataclass(frozen=True)
class IsoC(MatrixMethod):
    """The sum of all changes with all singular values equal.

    Attributes:
        lambda_: factor of the merged change.
    """

    def merged(self, changes: list[Tensor]) -> Tensor:
        """The sum with its mean singular value in place of all of them."""
        left, values, right = torch.linalg.svd(summed(changes), full_matrices=False)
        merged: Tensor = left @ right
        return merged.mul_(values.mean())


@methods.register("iso_cts")
@dataclass(frozen=True)
class IsoCts(MatrixMethod):
    """Common directions and those of each model, with all singular values equal.

    Attributes:
        lambda_: factor of the merged change.
        common_fraction: the share of directions that is taken from the sum of all changes.
    """

    common_fraction: float = setting(
        0.8, low=0.0, high=1.0, help="The share of directions that is common."
    )

    copies: ClassVar[int] = 10

    def merged(self, changes: list[Tensor]) -> Tensor:
        """The matrix of common and of own directions with one singular value."""
        rank, count = min(changes[0].shape), len(changes)
        own = round((rank - int(rank * self.common_fraction)) / count)
        own = min(own, rank // count)
        common = rank - own * count
        left, values, right = torch.linalg.svd(summed(changes), full_matrices=False)
        left, values, right = left[:, :common], values[:common], right[:common]
        lefts, kept, rights = [], [], []
        for change in changes:
            rest = torch.linalg.svd(change - left @ (left.T @ change), full_matrices=False)
            lefts.append(rest[0][:, :own])
            kept.append(rest[1][:own])
            rights.append(rest[2][:own])
        u = polar(torch.cat([*lefts, left], 1))
        v = polar(torch.cat([*rights, right], 0))
        return (u @ v).mul_(torch.cat([*kept, values]).mean())


@methods.register("tsv_m")
@dataclass(frozen=True)
class TsvM(MatrixMethod):
    """The leading singular triplets of each model's change, made orthogonal to one another.

    Attributes:
        lambda_: factor of the merged change.
    """

    copies: ClassVar[int] = 10

    def merged(self, changes: list[Tensor]) -> Tensor:
        """The matrix of all leading triplets."""
        rank = max(1, min(changes[0].shape) // len(changes))
        parts = []
        for change in changes:
            left, values, right = torch.linalg.svd(change, full_matrices=False)
            parts.append((left[:, :rank], values[:rank], right[:rank]))
        u = polar(torch.cat([left for left, _, _ in parts], 1))
        v = polar(torch.cat([right for _, _, right in parts], 0))
        return (u * torch.cat([values for _, values, _ in parts])) @ v
