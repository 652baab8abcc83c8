"""Squared lengths, inner products and scaled sums of lists of tensors, by groups of them.

On a CPU a product is one call of BLAS. On other devices a whole list goes through one kernel, and
no number is read back, since reading would wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Tensors = Sequence[Tensor]


def wide(tensors: Tensors) -> torch.dtype:
    """The dtype to sum in: float64 if one of the tensors has it, else float32."""
    precise = any(tensor.dtype == torch.float64 for tensor in tensors)
    return torch.float64 if precise else torch.float32


def differences(a: Tensors, b: Tensors) -> list[Tensor]:
    """The differences a - b of corresponding tensors, in the wider dtype of the two."""
    return list(torch._foreach_sub(list(a), list(b)))


def squares(tensors: Tensors) -> Tensor:
    """The squared lengths, (tensors,)."""
    return inner(tensors, tensors)


def inner(a: Tensors, b: Tensors) -> Tensor:
    """The inner products of corresponding tensors, (tensors,), on the device of the first one."""
    dtype, device = wide(a), a[0].device
    if a is b and not on_cpu(a[0]):
        precise = [x if x.dtype in (torch.float32, dtype) else x.to(dtype) for x in a]
        norms = torch._foreach_norm(precise)
        return torch.stack([norm.to(device, dtype) for norm in norms]).square()
    products = []
    for x, y in zip(a, b, strict=True):
        if on_cpu(a[0]) and _same_order(x, y):
            products.append(torch.dot(_flat(x, dtype), _flat(y, dtype)))
        else:
            products.append((x.to(dtype) * y.to(dtype)).sum().to(device))
    return torch.stack(products)


def by_group(values: Tensor, members: Tensor) -> Tensor:
    """Sums over the tensors of each group, (groups,).

    The sum is no matrix product, which some devices would round. It does not scatter, since some
    devices leave the order of that open.

    Args:
        values: (tensors,).
        members: (groups, tensors), 1 if a tensor belongs to the group, else 0.
    """
    return (members * values).sum(-1)


def scale_(tensors: list[Tensor], factors: Tensor) -> list[Tensor]:
    """Multiply every tensor by its own factor, in place."""
    if on_cpu(tensors[0]):
        torch._foreach_mul_(tensors, factors.tolist())
        return tensors
    pairs = zip(factors.unbind(), tensors, strict=True)
    torch._foreach_mul_(tensors, [factor.to(tensor.device) for factor, tensor in pairs])
    return tensors


def on_cpu(tensor: Tensor) -> bool:
    """Whether the tensor lies in the memory of this process, so that reading it does not wait."""
    return tensor.device.type == "cpu"


def _same_order(a: Tensor, b: Tensor) -> bool:
    return a.is_contiguous() and b.is_contiguous()


def _flat(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.view(-1) if tensor.dtype == dtype else tensor.view(-1).to(dtype)
