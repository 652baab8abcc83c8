"""Map classes of pointwise functions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from rule_networks import Between
from torch import Tensor

from onefold.symmetry import find_symmetries, verify_symmetries

CLASSES: dict[str, tuple[Callable[[Tensor], Tensor], set[str]]] = {
    "identity": (
        lambda x: x,
        {"permutation", "scale", "sign", "orthogonal", "orthogonal_mean", "invertible"},
    ),
    "times a number": (
        lambda x: x * 2 / 3,
        {"permutation", "scale", "sign", "orthogonal", "orthogonal_mean", "invertible"},
    ),
    "plus a number": (lambda x: x + 2, {"permutation", "orthogonal_mean"}),
    "relu": (F.relu, {"permutation", "scale"}),
    "leaky relu": (F.leaky_relu, {"permutation", "scale"}),
    "abs": (torch.abs, {"permutation", "scale"}),
    "tanh": (torch.tanh, {"permutation", "sign"}),
    "gelu": (F.gelu, {"permutation"}),
    "silu in place": (lambda x: F.silu(x, inplace=True), {"permutation"}),
    "relu6": (F.relu6, {"permutation"}),
    "hardswish": (F.hardswish, {"permutation"}),
    "softmax": (lambda x: x.softmax(-1), {"permutation"}),
    "number over x": (lambda x: 1 / (x.abs() + 1), {"permutation"}),
    "squared": (lambda x: x**2, {"permutation"}),
    "gated by itself": (lambda x: x * torch.sigmoid(x), {"permutation"}),
    "centred": (lambda x: x - x.mean(-1, keepdim=True), {"permutation", "orthogonal_mean"}),
    "divided by its norm": (lambda x: x / (1 + x.abs().sum(-1, keepdim=True)), {"permutation"}),
    "layer norm": (lambda x: F.layer_norm(x, (6,)), {"permutation", "orthogonal_mean"}),
    "rms norm": (
        lambda x: F.rms_norm(x, (6,)),
        {"permutation", "sign", "orthogonal", "orthogonal_mean"},
    ),
    "where": (lambda x: torch.where(x > 0, x, -x * 0.5), {"permutation"}),
    "clamped": (lambda x: x.clamp(-1, 2), {"permutation"}),
    "dropout": (
        lambda x: F.dropout(x, training=False),
        {"permutation", "scale", "sign", "orthogonal", "orthogonal_mean", "invertible"},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSES)
def test_map_classes_of_functions(name: str) -> None:
    function, classes = CLASSES[name]
    model, x = Between(function).eval(), torch.randn(3, 4)
    spec = find_symmetries(model, x)
    assert spec.groups[0].maps == classes
    assert spec.unknown == {}
    proof = verify_symmetries(spec, model, x)
    assert proof.passed, str(proof)
