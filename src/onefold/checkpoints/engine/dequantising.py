"""8-bit floats and their scales as float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def dequantised(stored: Tensor, scale: Tensor, shared: Sequence[int]) -> Tensor:
    """Each stored number times its scale, computed in float32.

    Args:
        stored: (...) of 8-bit floats.
        scale: of any floating dtype; one for each block, row, or all.
        shared: how many elements along each axis of `stored` share one scale.

    Returns:
        (...) in float32, a new tensor.
    """
    values, factors = stored.to(torch.float32), scale.to(torch.float32)
    if factors.numel() == 1:
        return values.mul_(factors.reshape(()))
    counts = [-(-size // width) for size, width in zip(values.shape, shared, strict=True)]
    _scale(values, factors.reshape(counts), shared)
    return values


def _scale(values: Tensor, factors: Tensor, shared: Sequence[int]) -> None:
    """Multiply in place, with no more memory than a row of factors takes."""
    pairs = zip(factors.shape, values.shape, strict=True)
    if all(count in (1, size) for count, size in pairs):
        values.mul_(factors)
    elif values.dim() == 1:
        values.mul_(factors.repeat_interleave(shared[0])[: len(values)])
    elif values.dim() == 2:
        for number, row in enumerate(factors):
            wide = row if len(row) == 1 else row.repeat_interleave(shared[1])
            part = values[number * shared[0] : (number + 1) * shared[0]]
            part.mul_(wide[: values.shape[1]])
    else:
        for number, part in enumerate(values):
            _scale(part, factors[number // shared[0]], shared[1:])
