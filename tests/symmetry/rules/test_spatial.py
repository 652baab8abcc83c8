"""Convolutions of every kind: groups, strides, transposed and depthwise."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from onefold.symmetry import find_symmetries, verify_symmetries


@pytest.mark.slow
@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions_of_every_kind(dimension: int, groups: int, transposed: bool) -> None:
    plain = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimension - 1]
    kind = (
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dimension - 1]
        if transposed
        else plain
    )
    model = nn.Sequential(
        plain(2, 6, 1), nn.ReLU(), kind(6, 12, 2, groups=groups), nn.ReLU(), plain(12, 3, 1)
    )
    x = torch.randn(2, 2, *[4] * dimension)
    spec = find_symmetries(model, x)
    proof = verify_symmetries(spec, model, x)
    assert proof.passed, str(proof)
    assert spec.coverage > 0.9
    assert spec.unknown == {}
    if groups == 1:
        assert [group.size for group in spec.groups] == [6, 12]
        assert all(group.dense for group in spec.groups)
    assert [layer.kind for layer in spec.layers] == [
        "conv",
        "conv_transpose" if transposed else "conv",
        "conv",
    ]
    assert [layer.weight_axis for layer in spec.layers] == [0, int(transposed), 0]
