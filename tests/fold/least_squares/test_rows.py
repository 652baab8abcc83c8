"""Rows that a layer reads: times its matrix they are its output."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from onefold.fold.least_squares.rows import Geometry, Sample, draw, geometry_of
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


def test_positions_of_a_kernel_by_hand() -> None:
    """A kernel of 3 with stride 2 and padding 1 reads 2 p - 1, 2 p and 2 p + 1; zero outside."""
    value = torch.arange(1.0, 6.0)[None, None]  # one example, one channel, positions 0 to 4
    sample = Sample((torch.zeros(3, dtype=torch.long), torch.arange(3)), 1, 0, 0)
    rows = Geometry((3,), (2,), (1,), (1,)).inputs(value, sample, 1)
    assert rows.tolist() == [[[0, 1, 2], [2, 3, 4], [4, 5, 0]]]
    spread = Geometry((2,), (2,), (0,), (1,), transposed=True)  # p gets p / 2 through tap p % 2
    assert spread.inputs(value, sample, 1).tolist() == [[[1, 0], [0, 1], [2, 0]]]


def test_samples_are_of_every_example_and_the_last_ones_are_held_out() -> None:
    generator = torch.Generator().manual_seed(0)
    few = draw((4, 3, 10), 1, 0, 4, 2, 1, generator)
    assert few.coordinates[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert (len(few), few.held) == (8, 2)
    whole = draw((4, 3, 10), 1, 0, 4, 50, 1, generator)
    assert (len(whole), whole.held) == (40, 10)
    value = torch.arange(120.0).view(4, 3, 10)
    torch.testing.assert_close(whole.take(value), value.movedim(1, 2).reshape(40, 3))
