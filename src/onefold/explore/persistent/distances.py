"""Squared lengths and inner products of lists of tensors, summed over groups of them, and linear
combinations with one factor for each tensor.

On a CPU a product is one call of BLAS; on other devices a whole list goes through one kernel, and
no number is read back, which would wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Tensors = Sequence[Tensor]


def wide(tensors: Tensors) -> torch.dtype:
    """The dtype to sum in: float64 where there is such a tensor, else float32."""
    return (
        torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
    )


def differences(a: Tensors, b: Tensors) -> list[Tensor]:
    """a - b for every tensor, in the wider dtype of the two."""
    return list(torch._foreach_sub(list(a), list(b)))


def squares(tensors: Tensors) -> Tensor:
    """The squared lengths, (tensors,)."""
    return inner(tensors, tensors)


def inner(a: Tensors, b: Tensors) -> Tensor:
    """The inner products of corresponding tensors, (tensors,), on the first one's device."""
    dtype, device = wide(a), a[0].device
    if on_cpu(a[0]):
        found = [
            (
                torch.dot(_flat(x, dtype), _flat(y, dtype))
                if _same_order(x, y)
                else (x.to(dtype) * y.to(dtype)).sum()
            )
            for x, y in zip(a, b, strict=True)
        ]
    elif a is b:
        norms = torch._foreach_norm(
            [x if x.dtype in (torch.float32, dtype) else x.to(dtype) for x in a]
        )
        return torch.stack([norm.to(device, dtype) for norm in norms]).square()
    else:
        found = [(x.to(dtype) * y.to(dtype)).sum().to(device) for x, y in zip(a, b, strict=True)]
    return torch.stack(found)


def by_group(values: Tensor, members: Tensor) -> Tensor:
    """Sums over the tensors of each group, (groups,). members: (groups, tensors), 1 where a tensor
    belongs to the group and else 0.

    Not as a matrix product, which some devices would round; nor by scattering, whose order some
    leave open.
    """
    return (members * values).sum(-1)


def scale_(tensors: list[Tensor], factors: Tensor) -> list[Tensor]:
    """Multiply every tensor by its own factor, in place."""
    if on_cpu(tensors[0]):
        torch._foreach_mul_(tensors, factors.tolist())
    else:
        torch._foreach_mul_(
            tensors,
            [
                factor.to(tensor.device)
                for factor, tensor in zip(factors.unbind(), tensors, strict=True)
            ],
        )
    return tensors


def on_cpu(tensor: Tensor) -> bool:
    """Whether the tensor lies in the memory of this process, and its numbers may be read without
    waiting.
    """
    return tensor.device.type == "cpu"


def _same_order(a: Tensor, b: Tensor) -> bool:
    return a.is_contiguous() and b.is_contiguous()


def _flat(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.view(-1) if tensor.dtype == dtype else tensor.view(-1).to(dtype)
