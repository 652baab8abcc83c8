"""Sums of models, or of their differences from the base, times one factor each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from onefold.checkpoints.methods.base import TensorInputs
from onefold.checkpoints.methods.lazily import torch

if TYPE_CHECKING:
    from torch import Tensor


def combined(inputs: TensorInputs, factors: Sequence[float], start: int, stop: int) -> Tensor:
    """Elements of sum_i c_i theta_i, or with a base of theta_0 + sum_i c_i (theta_i - theta_0).

    Equal models give themselves exactly if the factors sum to 1 or a base is given.

    Args:
        inputs: the models.
        factors: c, one for each model.
        start: first element.
        stop: behind the last element.
    """
    if inputs.base is not None:
        total = inputs.delta(0, start, stop).mul_(factors[0])
        for i in range(1, len(factors)):
            total.add_(inputs.delta(i, start, stop), alpha=factors[i])
        return total.add_(inputs.read(-1, start, stop))
    first = inputs.read(0, start, stop)
    if len(factors) > 1 and abs(sum(factors) - 1) < 1e-12:  # a mean: steps away from the first one
        total = torch.sub(inputs.read(1, start, stop), first).mul_(factors[1])
        for i in range(2, len(factors)):
            total.add_(torch.sub(inputs.read(i, start, stop), first), alpha=factors[i])
        return total.add_(first)
    total = torch.mul(first, factors[0])
    for i in range(1, len(factors)):
        total.add_(inputs.read(i, start, stop), alpha=factors[i])
    return total
