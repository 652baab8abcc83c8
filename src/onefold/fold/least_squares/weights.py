"""A layer together with its batch norm as one matrix for each group, read from a state dict and
written back into it.

Read: with s = scale / sqrt(variance + eps), W x + b and its norm are (s W) x + s (b - mean) +
shift. Written: the layer holds the solved matrix, and its norm only shifts; the norm's scale and
shift are the deviation and mean of its output, so that statistics which are estimated again later,
or in training mode, give the same function.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from onefold.batchnorm import scale_output
from onefold.layers import Layer


def has_intercept(layer: Layer) -> bool:
    """Whether the layer, or its norm, can add a constant to its output."""
    return layer.bias is not None or layer.norm is not None


def effective(state: Mapping[str, Tensor], layer: Layer) -> tuple[Tensor, Tensor]:
    """The layer with its norm as (groups, taps x inputs, outputs) and the constant (outputs of all
    groups,), float64.
    """
    weight = state[layer.weight].detach().double()
    outputs = weight.shape[layer.weight_axis] * (
        layer.groups if layer.kind == "conv_transpose" else 1
    )
    bias = (
        state[layer.bias].detach().double() if layer.bias is not None else weight.new_zeros(outputs)
    )
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
    """A weight as (groups, taps x inputs of a group, outputs of a group): inputs vary fastest among
    its rows.
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
    """The weight of that shape whose matrix is `matrix`: `matrix_of` undone."""
    g, taps = layer.groups, math.prod(shape[2:])
    inner = matrix.reshape(g, taps, -1, matrix.shape[-1])
    return (
        inner.permute(0, 2, 3, 1).reshape(shape)
        if layer.kind == "conv_transpose"
        else inner.permute(0, 3, 2, 1).reshape(shape)
    )


def write(
    state: Mapping[str, Tensor],
    layer: Layer,
    matrix: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
) -> None:
    """Put a solved layer into the state's own tensors. mean, variance: of its output (outputs,),
    which its norm takes over.
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
