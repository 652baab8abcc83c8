"""Weights that are computed, messages along edges, Fourier layers and bags of embeddings: what
moves in them, by the proof.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from computed_weight_networks import NETWORKS, dense, rows
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from onefold.symmetry import SymmetrySpec, find_symmetries, verify_symmetries


def spec_of(model: nn.Module, args: tuple[Any, ...]) -> SymmetrySpec:
    return find_symmetries(model, (args, None) if len(args) > 1 else args[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_feature_space_moves_and_the_proof_holds(name: str) -> None:
    torch.manual_seed(0)
    make, inputs = NETWORKS[name]
    with torch.no_grad():  # so that weights which hooks have made can be copied
        model, args = make().eval(), inputs()
    spec = spec_of(model, args)
    assert spec.spaces
    assert spec.feature_coverage == 1.0, str(spec)
    assert not spec.unknown
    proof = verify_symmetries(spec, model, (args, None) if len(args) > 1 else args[0])
    assert proof.passed, str(proof)
    assert proof.negatives_tried > 0


@pytest.mark.parametrize("way", ["matrix_exp", "cayley", "householder"])
def test_orthogonal_weights_move_as_far_as_their_bases_do(way: str) -> None:
    torch.manual_seed(0)
    model = dense(lambda m: parametrizations.orthogonal(m, orthogonal_map=way)).eval()
    args = rows()
    spec = spec_of(model, args)
    proof = verify_symmetries(spec, model, args[0])
    assert proof.passed, str(proof)
    assert 0 < spec.feature_coverage < 1
    assert any(space.reason for space in spec.spaces)


class Positions(nn.Module):
    """Buffers that are no weights: a table of positions, a mask that is not saved, a mean that is
    taken off.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.randn(5))
        self.register_buffer("table", torch.randn(8))
        self.register_buffer("mask", torch.rand(3, 8), persistent=False)
        self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.a(x - self.mean) + self.table, self.b.weight * self.mask, self.b.bias)


def test_buffers_that_meet_features_first_or_are_not_saved_stay() -> None:
    spec = spec_of(Positions().eval(), rows())
    assert not spec.groups
    assert {"mean", "table", "mask"}.isdisjoint(spec.axes)
    assert [space.reason for space in spec.spaces] == ["buffer"]
