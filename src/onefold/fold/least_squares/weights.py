"""A layer together with its batch norm as one matrix for each group.

Read from a state dict: with s = scale / sqrt(variance + eps), W x + b and its norm are (s W) x + s
(b - mean) + shift.

Written into a state dict: the layer holds the solved matrix, and its norm only shifts. The norm's
scale and shift are the deviation and mean of its output. So statistics that are estimated again
later, or in training mode, give the same function.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from onefold.batchnorm import scale_output
from onefold.layers import Layer


def has_intercept(layer: Layer) -> bool:
    """Whether the layer or its norm can add a constant to its output."""
    return layer.bias is not None or layer.norm is not None


def effective(state: Mapping[str, Tensor], layer: Layer) -> tuple[Tensor, Tensor]:
    """The layer with its norm as a matrix and a constant, float64.

    The matrix is (groups, taps x inputs, outputs), the constant (outputs of all groups,).
    """
    weight = state[layer.weight].detach().double()
    outputs = weight.shape[layer.weight_axis]
    if layer.kind == "conv_transpose":
        outputs *= layer.groups
    bias = weight.new_zeros(outputs)
    if layer.bias is not None:
        bias = state[layer.bias].detach().double()
    norm = layer.norm
    if norm is not None:
        gain = 1 / (state[norm.variance].double() + norm.eps).sqrt()
        if norm.scale is not None:
            gain = gain * state[norm.scale].double()
        weight, bias = scale_output(weight, gain, layer), gain * (bias - state[norm.mean].double())
        if norm.shift is not None:
            bias = bias + state[norm.shift].double()
    return matrix_of(weight, layer), bias


def matrix_of(weight: Tensor, layer: Layer) -> Tensor:
    """A weight as a matrix (groups, taps x inputs of a group, outputs of a group).

    Inputs vary fastest among its rows.
    """
    g = layer.groups
    if layer.kind == "conv_transpose":  # (inputs, outputs / g, kernel...)
        return (
            weight.reshape(g, weight.shape[0] // g, weight.shape[1], -1)
            .permute(0, 3, 1, 2)
            .reshape(g, -1, weight.shape[1])
        )
    return (
        weight.reshape(g, weight.shape[0] // g, weight.shape[1], -1)
        .permute(0, 3, 2, 1)
        .reshape(g, -1, weight.shape[0] // g)
    )


def tensor_of(matrix: Tensor, layer: Layer, shape: torch.Size) -> Tensor:
    """The weight of that shape whose matrix is `matrix`: the inverse of `matrix_of`."""
    g, taps = layer.groups, math.prod(shape[2:])
    inner = matrix.reshape(g, taps, -1, matrix.shape[-1])
    order = (0, 2, 3, 1) if layer.kind == "conv_transpose" else (0, 3, 2, 1)
    return inner.permute(order).reshape(shape)


def write(
    state: Mapping[str, Tensor],
    layer: Layer,
    matrix: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
) -> None:
    """Write a solved layer into the state's own tensors, in place.

    Args:
        state: the state dict.
        layer: the layer.
        matrix: (groups, taps x inputs, outputs), float64.
        bias: the constant (outputs of all groups,), float64.
        mean: of the layer's output (outputs,), which its norm takes over.
        variance: likewise.
    """
    state[layer.weight].copy_(tensor_of(matrix, layer, state[layer.weight].shape))
    norm = layer.norm
    if norm is None:
        if layer.bias is not None:
            state[layer.bias].copy_(bias)
        return
    if layer.bias is not None:
        state[layer.bias].zero_()
    scale = torch.ones_like(mean)
    if norm.scale is not None:
        scale = torch.where(variance > 2 * norm.eps, variance.clamp_min(0.0).sqrt(), 1.0)
        state[norm.scale].copy_(scale)
        scale = state[norm.scale].double()
    shift = torch.zeros_like(mean)
    if norm.shift is not None:
        state[norm.shift].copy_(mean)
        shift = state[norm.shift].double()
    state[norm.variance].copy_(scale.square() - norm.eps)
    state[norm.mean].copy_(shift - bias)
