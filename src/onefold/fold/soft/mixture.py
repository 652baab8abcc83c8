"""Weighted sums of outputs, y = sum_k g_k f_k(x), of whole networks or of modules inside one.

Sums of outputs as they are serve every task. Sums of probabilities are for classifiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from onefold.inference import ANY, ClassAxis, Output

Outputs = Literal["logits", "probabilities"]
OUTPUTS: tuple[Outputs, ...] = ("logits", "probabilities")


class Mixture(nn.Module):
    """Several modules of one interface as one. Parts of weight exactly 0 are not run.

    Args:
        parts: the modules.
        weights: (parts,).
        outputs: "logits" sums the meant outputs as they are. "probabilities" is for classifiers:
            the result is the logarithm of their summed probabilities. None sums outputs of any
            nested form tensor by tensor; what is no floating-point tensor comes from the first part
            that is run.
        output: finds the meant output in whatever form it is returned (`onefold.inference`).
    """

    weights: Tensor

    def __init__(
        self,
        parts: Sequence[nn.Module],
        weights: Tensor,
        *,
        outputs: Outputs | None = None,
        output: Output = ANY,
    ) -> None:
        super().__init__()
        self.output = output
        self.parts = nn.ModuleList(parts)
        self.register_buffer("weights", weights)
        self.outputs = outputs

    @property
    def selects_output(self) -> bool:
        """Whether the returned value is the meant output itself."""
        return self.outputs is not None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The weighted sum of the parts' outputs on the same inputs."""
        open_parts = [k for k, weight in enumerate(self.weights.tolist()) if weight != 0.0]
        outputs = [self.parts[k](*args, **kwargs) for k in open_parts]
        if self.outputs is not None:
            pairs = zip(open_parts, outputs, strict=True)
            meant = [self.output.of(returned, self.parts[k]) for k, returned in pairs]
            return mixed_outputs(self.weights[open_parts], meant, self.outputs, self.output)
        weights = [self.weights[k] for k in open_parts]
        if len(outputs) == 1 and not isinstance(outputs[0], Tensor) and float(weights[0]) == 1.0:
            return outputs[0]
        return pytree.tree_map(lambda *values: _sum(values, weights), *outputs)

    def extra_repr(self) -> str:
        """The weights, as torch prints them."""
        return f"weights={[round(weight, 4) for weight in self.weights.tolist()]}"


def _sum(values: Sequence[Any], weights: Sequence[Tensor]) -> Any:
    first = values[0]
    if not isinstance(first, Tensor) or not (first.is_floating_point() or first.is_complex()):
        return first
    total = first * weights[0].to(first.dtype)
    for value, weight in zip(values[1:], weights[1:], strict=True):
        total = total + value * weight.to(first.dtype)
    return total


def mixed_outputs(
    gates: Tensor, found: Sequence[Tensor], outputs: Outputs, output: Output
) -> Tensor:
    """`weighted_outputs` of tensors in the axes in which networks return them.

    Raises:
        DataError: probabilities need the axis of the classes, which is not known.
    """
    if outputs == "logits":
        return weighted_outputs(gates, found, outputs)
    axis = ClassAxis(output, "a mean of probabilities").of(found[0])
    rows = [tensor.movedim(axis, -1) for tensor in found]
    return weighted_outputs(gates, rows, outputs).movedim(-1, axis)


def weighted_outputs(gates: Tensor, logits: Sequence[Tensor], outputs: Outputs) -> Tensor:
    """The weighted sum of K outputs (n, ..., numbers) for gates (K,).

    It is sum_k gates[k] outputs[k], or of classes the logarithm of sum_k gates[k]
    softmax(outputs[k]).
    """
    stacked = torch.stack(list(logits))
    if outputs == "logits":
        total: Tensor = torch.tensordot(gates.to(stacked.dtype), stacked, dims=1)
        return total
    log_gates = gates.to(stacked.dtype).clamp_min(torch.finfo(stacked.dtype).tiny).log()
    log_gates = log_gates.reshape(-1, *[1] * (stacked.dim() - 1))
    mixed: Tensor = torch.logsumexp(torch.log_softmax(stacked, -1) + log_gates, 0)
    return mixed
