"""Specs as tables, and layers in the order of the graph."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from rule_networks import Between

from onefold.symmetry import SymmetrySpec, find_symmetries


def test_layers_of_a_built_in_network_are_described_in_graph_order() -> None:
    from onefold.sources.networks import digits

    spec = find_symmetries(digits(8), torch.randn(2, 1, 8, 8))
    first, last = spec.layers[0], spec.layers[-1]
    assert [layer.weight for layer in spec.layers] == [
        "conv1.weight",
        "conv2.weight",
        "conv3.weight",
        "head.weight",
    ]
    assert (
        first.kind,
        first.bias,
        first.source,
        first.output,
        first.output_axis,
        first.groups,
        first.shared,
    ) == ("conv", None, "x", "batch_norm", 1, 1, False)
    assert first.norm is not None
    assert (first.norm.mean, first.norm.variance, first.norm.scale, first.norm.eps) == (
        "norm1.running_mean",
        "norm1.running_var",
        "norm1.weight",
        1e-5,
    )
    assert (last.kind, last.bias, last.output, last.norm) == ("linear", "head.bias", "linear", None)
    for layer in spec.layers:
        assert {layer.node, layer.source, layer.output} <= spec.nodes.keys()


def test_a_spec_prints_as_a_table() -> None:
    spec: SymmetrySpec = find_symmetries(Between(F.relu), torch.randn(3, 4))
    assert "g0" in str(spec)
    assert "permutation, scale" in str(spec)
    assert "1 groups cover" in str(spec)
