"""A layer and its norm as one matrix: written as they are read."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from onefold.fold.least_squares.weights import effective, write
from onefold.layers import Layer, Norm


@pytest.mark.parametrize("affine", [True, False])
def test_a_layer_and_its_norm_are_written_as_they_are_read(affine: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=affine)).double().eval()
    names = ("1.weight", "1.bias") if affine else (None, None)
    layer = Layer(
        "n",
        "conv",
        "0.weight",
        "0.bias",
        0,
        "x",
        "n",
        1,
        norm=Norm("m", *names, "1.running_mean", "1.running_var", 1e-5),
    )
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.2, 2.0)
    x = torch.randn(5, 3, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        before = model(x)
        matrix, bias = effective(model.state_dict(), layer)
        write(
            model.state_dict(), layer, matrix, bias, before.mean((0, 2, 3)), before.var((0, 2, 3))
        )
        torch.testing.assert_close(model(x), before)
        if affine:  # in training mode, so by the batch's own statistics, it is the same function
            torch.testing.assert_close(model.train()(x), before, rtol=0.02, atol=0.02)
