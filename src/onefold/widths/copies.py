"""Copies of networks with other tensors in place of some of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from onefold.copying import copied

M = TypeVar("M", bound=nn.Module)


def with_tensors(model: M, tensors: Mapping[str, Tensor]) -> M:
    """A deep copy of a network with other tensors in place of some of its own.

    Whatever in the network holds one of these tensors holds the new one in the copy, so that tied
    tensors stay tied.

    Args:
        model: the network; it is left as it is.
        tensors: name of a parameter or buffer -> the tensor that takes its place.
    """
    old = tensors_of(model)
    memo: dict[int, Any] = {}
    for name, tensor in tensors.items():
        before = old[name]
        if id(before) in memo:
            continue
        if isinstance(before, nn.Parameter):
            memo[id(before)] = nn.Parameter(tensor, requires_grad=before.requires_grad)
        else:
            memo[id(before)] = tensor
    return copied(model, memo)


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by every name that they have."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
