"""The scale of a solved layer in front of a batch norm: that of a member's layer.

A norm takes any scale c > 0 out of the layer W x before it:

    W, mean, variance + eps    and    c W, c mean, c^2 (variance + eps)    are one function.

Training tells them apart. A step of rate r turns W by r / |W|^2, so that a small W is torn out of
place by the rates that its network was trained with. A solution has the scale of its output. Here c
gives W the root mean square of the weights V of the reference:

    c = (|V|^2 / number of weights in V)^(1/2) / (|W|^2 / number of weights in W)^(1/2)

Rates under batch norm: van Laarhoven 2017, "L2 Regularization versus Batch and Weight
Normalization" (arXiv 1706.05350).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from onefold.batchnorm import scale_output
from onefold.layers import Layer


def restore_scales(
    state: Mapping[str, Tensor], layers: Iterable[Layer], reference: Mapping[str, Tensor]
) -> None:
    """Give layers the scale of a member's, in the state's own tensors; the function stays.

    A channel whose variance would fall below the norm's eps keeps a larger scale.

    Args:
        state: the state dict of the folded network, of any widths.
        layers: its layers; those without a batch norm and those used more than once stay.
        reference: the member's state dict, as it was trained.
    """
    for layer in layers:
        norm = layer.norm
        if norm is None or layer.shared:
            continue
        own, wanted = _mean_square(state[layer.weight]), _mean_square(reference[layer.weight])
        if not (own > 0 and wanted > 0):
            continue
        deviation = state[norm.variance].double() + norm.eps
        least = (2 * norm.eps / deviation).sqrt()
        gain = torch.maximum(torch.full_like(deviation, (wanted / own) ** 0.5), least)
        weight = state[layer.weight]
        weight.copy_(scale_output(weight.double(), gain, layer))
        if layer.bias is not None:
            state[layer.bias].mul_(gain)
        state[norm.mean].copy_(gain * state[norm.mean].double())
        state[norm.variance].copy_(gain.square() * deviation - norm.eps)


def _mean_square(weight: Tensor) -> float:
    """The mean of the squares of all numbers; 0 if it is not finite."""
    found = float(weight.double().square().mean())
    return found if found < float("inf") else 0.0
