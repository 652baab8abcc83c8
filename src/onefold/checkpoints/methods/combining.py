"""Sums of models, or of their differences from the base, times one factor each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from onefold.checkpoints.methods.base import TensorInputs
from onefold.checkpoints.methods.lazily import torch
from onefold.checkpoints.methods.scratch import buffer

if TYPE_CHECKING:
    from torch import Tensor


def combined(inputs: TensorInputs, factors: Sequence[float], start: int, stop: int) -> Tensor:
    """Elements of sum_i c_i theta_i, or with a base of theta_0 + sum_i c_i (theta_i - theta_0).

    Models of factor 0 are not read. Equal models give themselves exactly if the factors sum to 1
    or a base is given.

    Args:
        inputs: the models.
        factors: c, one for each model.
        start: first element.
        stop: behind the last element.
    """
    used = [i for i, factor in enumerate(factors) if factor != 0]
    if inputs.base is not None:
        if not used:
            return inputs.read(-1, start, stop)
        base = inputs.read(-1, start, stop)
        merged = inputs.minus(used[0], base, start, stop).mul_(factors[used[0]])
        for i in used[1:]:
            merged.add_(inputs.minus(i, base, start, stop), alpha=factors[i])
        return merged.add_(base)
    merged = buffer("combined", 0, stop - start, inputs.work)
    if not used:
        return merged.zero_()
    first = inputs.read(used[0], start, stop)
    if abs(sum(factors) - 1) < 1e-12:  # a mean, as steps away from the first model
        if len(used) == 1:
            return first
        torch.lerp(first, inputs.read(used[1], start, stop), factors[used[1]], out=merged)
        for i in used[2:]:
            step = buffer("delta", i, stop - start, inputs.work)
            torch.sub(inputs.read(i, start, stop), first, out=step)
            merged.add_(step, alpha=factors[i])
        return merged
    torch.mul(first, factors[used[0]], out=merged)
    for i in used[1:]:
        merged.add_(inputs.read(i, start, stop), alpha=factors[i])
    return merged


def combined_groups(
    inputs: TensorInputs, factors: Tensor, start: int, stop: int, width: int
) -> Tensor:
    """Like `combined`, with factors for each row or for each column.

    Args:
        inputs: the models.
        factors: (models, rows, 1) for rows of the whole tensor, or (models, 1, columns).
        start: first element, a multiple of `width`.
        stop: behind the last element.
        width: the length of a row.
    """
    low, high = start // width, -(-stop // width)
    merged = torch.zeros(high - low, width, dtype=inputs.work)
    for i in range(len(inputs.tensors)):
        factor = factors[i] if factors.shape[1] == 1 else factors[i, low:high]
        merged += inputs.moved(i, start, stop).view(-1, width).mul_(factor.to(inputs.work))
    if inputs.base is not None:
        merged += inputs.read(-1, start, stop).view(-1, width)
    return merged.view(-1)
