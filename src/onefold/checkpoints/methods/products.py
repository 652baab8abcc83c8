"""Sums and inner products over whole tensors, block by block.

Most methods that look at angles need only the matrix G_ij = <v_i, v_j> of the models' tensors, or
of their differences from the base. It is found in one pass over the inputs. Sums are taken in
float32 over stretches of `STRETCH` elements and in float64 over these, so that they depend neither
on threads nor on how a tensor is cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from onefold.checkpoints.methods.inputs import TensorInputs
from onefold.checkpoints.methods.lazily import torch
from onefold.checkpoints.methods.scratch import BLOCK, buffer

if TYPE_CHECKING:
    from torch import Tensor

STRETCH, SMALL = 256, 4096  # longer stretches lose digits that angles of close vectors need
Along = Literal["tensor", "rows", "columns"]
Read = Callable[[int, int, int], "Tensor"]


def total(values: Tensor) -> float:
    """The sum of the elements of a flat tensor; of a small one in float64 from the first on."""
    if len(values) <= SMALL:
        return float(values.sum(dtype=torch.float64))
    whole = len(values) // STRETCH * STRETCH
    found = values[:whole].view(-1, STRETCH).sum(1).double().sum()
    return float(found + values[whole:].sum().double())


def total_of_squares(values: Tensor) -> float:
    """The sum of the squares of the elements of a flat tensor; of a small one in float64."""
    whole = len(values) // STRETCH * STRETCH if len(values) > SMALL else 0
    norms = torch.linalg.vector_norm(values[:whole].view(-1, STRETCH), dim=1)
    return float(norms.double().square().sum() + values[whole:].double().square().sum())


def blocks(numel: int, step: int = BLOCK) -> list[tuple[int, int]]:
    """The first element of each block, and the one behind its last."""
    return [(start, min(start + step, numel)) for start in range(0, numel, step)]


def row_of(shape: Sequence[int]) -> int:
    """The length of a row, which is the last dimension; at least 1."""
    return max(1, shape[-1]) if shape else 1


def columns_of(shape: Sequence[int]) -> int:
    """The length of what lies behind one index of the first dimension; at least 1."""
    return max(1, math.prod(shape[1:]))


def products(
    inputs: TensorInputs, indices: Sequence[int], read: Read, along: Along = "tensor"
) -> Tensor:
    """G of the tensors `indices`, as `read` gives them.

    Args:
        inputs: the models.
        indices: of models; -1 is the base.
        read: (index, start, stop) -> elements; `inputs.read`, or `inputs.moved`.
        along: what the vectors are: whole tensors; rows, which are the last dimension; or columns,
            which are the first one.

    Returns:
        (groups, n, n), float64. One group for tensors, else one for each row or column.
    """
    count = len(indices)
    width = inputs.row if along == "rows" else columns_of(inputs.shape)
    groups = {"tensor": 1, "rows": inputs.numel // inputs.row, "columns": width}[along]
    step = BLOCK if along == "tensor" else width * max(1, BLOCK // width)
    found = torch.zeros(groups, count, count, dtype=torch.float64, device="cpu")
    for start, stop in blocks(inputs.numel, step):
        vectors = [read(i, start, stop) for i in indices]
        product = buffer("product", 0, stop - start, inputs.work)
        for i in range(count):
            for j in range(i, count):
                if along == "tensor" and i == j:
                    found[0, i, i] += total_of_squares(vectors[i])
                    continue
                torch.mul(vectors[i], vectors[j], out=product)
                if along == "tensor":
                    found[0, i, j] += total(product)
                elif along == "rows":
                    rows = product.view(-1, width).sum(1).double()
                    found[start // width : start // width + len(rows), i, j] = rows
                else:
                    found[:, i, j] += product.view(-1, width).sum(0).double()
    for i in range(count):
        found[:, i, :i] = found[:, :i, i]
    return found
