"""Weighted sums of networks' outputs: y = sum_k g_k f_k(x), for whole networks and for the modules inside one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from onefold.batches import logits_of


class Mixture(nn.Module):
    """Several modules of one interface as one. Parts of weight exactly 0 are not run.

    parts: the modules. weights: (parts,). logits: sum what `logits_of` finds in the outputs, so that networks may return it in different
    forms; otherwise outputs of any nested form are summed tensor by tensor, and what is no floating-point tensor comes from the first part
    that is run.
    """

    weights: Tensor

    def __init__(self, parts: Sequence[nn.Module], weights: Tensor, *, logits: bool = False) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.register_buffer("weights", weights)
        self.logits = logits

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The weighted sum of the parts' outputs on the same inputs."""
        open_parts = [k for k, weight in enumerate(self.weights.tolist()) if weight != 0.0]
        outputs = [self.parts[k](*args, **kwargs) for k in open_parts]
        if self.logits:
            outputs = [logits_of(output) for output in outputs]
        weights = [self.weights[k] for k in open_parts]
        if len(outputs) == 1 and not isinstance(outputs[0], Tensor) and float(weights[0]) == 1.0:
            return outputs[0]
        return pytree.tree_map(lambda *values: _sum(values, weights), *outputs)

    def extra_repr(self) -> str:
        return f"weights={[round(weight, 4) for weight in self.weights.tolist()]}"


def _sum(values: Sequence[Any], weights: Sequence[Tensor]) -> Any:
    first = values[0]
    if not isinstance(first, Tensor) or not (first.is_floating_point() or first.is_complex()):
        return first
    total = first * weights[0].to(first.dtype)
    for value, weight in zip(values[1:], weights[1:], strict=True):
        total = total + value * weight.to(first.dtype)
    return total


def weighted_logits(gates: Tensor, logits: Sequence[Tensor]) -> Tensor:
    """sum_k gates[k] logits[k] for gates (K,) and K tensors (n, ..., classes)."""
    stacked = torch.stack(list(logits))
    return torch.tensordot(gates.to(stacked.dtype), stacked, dims=1)
