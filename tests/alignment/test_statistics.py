"""Layers whose outputs get targets for repair: the hidden ones and no others."""

from __future__ import annotations

import pytest
import torch
from small_networks import Plain, Residual, TwoHeads, random_pair
from torch import Tensor, nn

from onefold.alignment import align, measure_targets


class Series(nn.Module):
    """An output at every step of a series."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Conv1d(6, 9, 3, padding=1), nn.Conv1d(9, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.into(x)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "heads"),
    [(Plain, {"head"}), (Residual, {"head"}), (TwoHeads, {"first", "second"}), (Series, {"out"})],
)
def test_hidden_layers_have_targets_and_the_outputs_have_none(
    kind: type[nn.Module], heads: set[str]
) -> None:
    networks, data = random_pair(kind)
    found = align(networks, data, method="permutation")
    targets = measure_targets(networks, data, found).layers
    by_name = {layer.weight.removesuffix(".weight"): layer for layer in found.spec.layers}
    assert {
        name for name, layer in by_name.items() if layer.output in targets
    } == by_name.keys() - heads
