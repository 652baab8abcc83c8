"""Rows that a layer reads: times its matrix they are its output."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from onefold.fold.least_squares.rows import draw, geometry_of
from onefold.fold.least_squares.weights import effective, matrix_of, tensor_of
from onefold.layers import Layer
from onefold.symmetry import trace

LAYERS = [
    (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), "conv", 0, (4, 7, 8)),
    (nn.Conv1d(4, 4, 4, dilation=2, groups=4), "conv", 0, (4, 12)),
    (nn.Conv3d(2, 3, 2, padding=1), "conv", 0, (2, 3, 4, 3)),
    (
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2),
        "conv_transpose",
        1,
        (4, 5, 4),
    ),
    (nn.ConvTranspose1d(4, 4, 3, stride=3, groups=4), "conv_transpose", 1, (4, 5)),
    (nn.Linear(4, 6), "linear", 0, (3, 5, 4)),
]


@pytest.mark.parametrize(("module_", "kind", "axis", "shape"), LAYERS)
def test_rows_times_the_matrix_are_the_layers_output(
    module_: nn.Module, kind: str, axis: int, shape: tuple[int, ...]
) -> None:
    module_ = copy.deepcopy(module_).double()
    x = torch.randn(6, *shape, dtype=torch.float64)
    traced = trace(module_, (x,))
    node = next(
        n
        for n in traced.graph.nodes
        if n.op == "call_function" and isinstance(n.meta["val"], Tensor)
    )
    channel = x.dim() - 1 if kind == "linear" else 1
    layer = Layer(
        "n", kind, "weight", "bias", axis, "x", "n", channel, getattr(module_, "groups", 1)
    )
    geometry = geometry_of(layer, node)
    assert geometry is not None
    with torch.no_grad():
        y = module_(x)
    sample = draw(y.shape, channel, 0, 6, 7, 2, torch.Generator().manual_seed(1))
    state = dict(module_.state_dict())
    matrix, bias = effective(state, layer)
    rows = geometry.inputs(x, sample, layer.groups)
    out = (rows @ matrix).transpose(0, 1).reshape(len(sample), -1) + bias
    torch.testing.assert_close(out, sample.take(y))
    torch.testing.assert_close(
        tensor_of(matrix_of(state["weight"], layer), layer, state["weight"].shape), state["weight"]
    )
    assert sample.held == len(sample) * 2 // 6
