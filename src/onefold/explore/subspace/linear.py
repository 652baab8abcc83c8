"""Linear combinations of tensors at the speed of memory.

They are what a training step of a subspace costs beyond a plain step. On a CPU a pass over weights
that do not fit in a cache takes as long as reading them. All sums of the same inputs are therefore
formed piece by piece, while a piece is in the cache. On other devices whole lists of tensors go
through one kernel (`mixing.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PIECE = 65536  # elements of a piece for each thread: five such pieces of float32 take 1.3 MB


def combine(inputs: Sequence[Tensor], rows: Sequence[Sequence[float]]) -> list[Tensor]:
    """Sums of the inputs, each input times its coefficient, for every row of coefficients.

    Args:
        inputs: tensors of one shape and dtype.
        rows: for each sum one coefficient for each input.

    Returns:
        One new tensor for each row, in the memory order of the first input.
    """
    return _combine(inputs, rows, None)[0]


def combine_and_compare(
    inputs: Sequence[Tensor], row: Sequence[float], pair: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """One sum of the inputs, and the inner products of two of them.

    Args:
        inputs: tensors of one shape and dtype.
        row: one coefficient for each input.
        pair: positions of the inputs a and b that are compared.

    Returns:
        The sum, and (3,) <a, b>, |a|^2 and |b|^2, in float64 for float64 tensors, else in float32.
    """
    outputs, products = _combine(inputs, [row], pair)
    return outputs[0], torch.stack(products).view(-1, 3).sum(0)


def _combine(
    inputs: Sequence[Tensor], rows: Sequence[Sequence[float]], pair: tuple[int, int] | None
) -> tuple[list[Tensor], list[Tensor]]:
    outputs = [torch.empty_like(inputs[0]) for _ in rows]
    products = []
    wide = torch.float64 if inputs[0].dtype == torch.float64 else torch.float32
    for piece in _pieces([*inputs, *outputs]):
        parts, sums = piece[: len(inputs)], piece[len(inputs) :]
        for row, out in zip(rows, sums, strict=True):
            if len(inputs) == 2 and row[0] + row[1] == 1.0:
                torch.lerp(parts[0], parts[1], row[1], out=out)
                continue
            first, *others = [k for k, c in enumerate(row) if c] or [0]
            torch.mul(parts[first], row[first], out=out)
            for k in others:
                out.add_(parts[k], alpha=row[k])
        if pair is not None:
            a, b = (parts[k].reshape(-1).to(wide) for k in pair)
            products += [torch.dot(a, b), torch.dot(a, a), torch.dot(b, b)]
    return outputs, products


def _pieces(tensors: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """Corresponding pieces of tensors of one shape.

    The tensors stay whole if they are small, lie on a device, or differ in memory order.
    """
    step = PIECE * torch.get_num_threads()
    first = tensors[0]
    if (
        first.numel() <= step
        or first.device.type != "cpu"
        or any(t.stride() != first.stride() for t in tensors)
    ):
        return [tuple(tensors)]
    if not first.is_contiguous():
        if first.dim() != 4 or not first.is_contiguous(memory_format=torch.channels_last):
            return [tuple(tensors)]
        tensors = [t.permute(0, 2, 3, 1) for t in tensors]
    return list(zip(*(torch.split(t.view(-1), step) for t in tensors), strict=True))
