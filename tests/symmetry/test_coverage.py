"""Feature spaces between layers: which of them move, and why the others stay."""

from __future__ import annotations

import pytest
import torch
from still_networks import Neighbours, Partly, Waves, pair, words
from torch import Tensor, nn

import onefold
from onefold.symmetry import SymmetrySpec, find_symmetries
from onefold.symmetry.coverage import shortfall, why_still


@pytest.mark.slow
def test_little_that_moves_is_a_warning_by_the_worse_of_two_counts() -> None:
    networks = pair(Partly)
    spec = find_symmetries(networks[0], words()[0])
    assert spec.coverage > 0.9
    assert spec.feature_coverage == 0.25
    assert [bool(space.groups) for space in spec.spaces] == [True, False, False, False]
    assert {space.reason for space in spec.spaces[1:]} == {"reaches cummax, which has no rule"}
    assert "1 of 4 feature spaces between layers can move." in str(spec)
    for method in ("permutation", "cca", "auto"):
        report = onefold.merge(
            networks, words(), align=method, repair="none", fold="average"
        ).report
        assert report.moving_spaces == 1
        assert report.spaces == 4
        assert report.warnings[0].startswith("only 1 of 4 feature spaces between layers and 9")
        assert "cummax (3 times)" in report.warnings[0]
        assert report.to_dict()["moving_spaces"] == 1
    found = onefold.align(networks, words(), method="permutation")
    assert found.warnings[0] in str(found)


def test_enough_that_moves_is_none() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    spec = find_symmetries(model, torch.randn(2, 6))
    assert shortfall(spec) is None
    assert [space.groups for space in spec.spaces] == [("g0",), ("g1",)]
    assert spec.feature_coverage == 1.0


def test_what_no_alignment_could_move_is_no_feature_space() -> None:
    """Positions, words, inputs and outputs; a residual stream counts once, segments each."""

    class Stream(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.mix = nn.Embedding(20, 8), nn.Linear(5, 5)
            self.up, self.down, self.join, self.head = (
                nn.Linear(8, 6),
                nn.Linear(6, 8),
                nn.Linear(14, 4),
                nn.Linear(4, 20),
            )

        def forward(self, x: Tensor) -> Tensor:
            h = self.words(x)
            h = h + self.mix(h.transpose(1, 2)).transpose(1, 2)  # over positions
            u = torch.relu(self.up(h))
            return self.head(self.join(torch.cat([h + self.down(u), u], -1)))

    spec = find_symmetries(Stream(), torch.randint(20, (2, 5)))
    assert sorted(space.size for space in spec.spaces) == [4, 6, 8]
    assert all(space.groups for space in spec.spaces)


@pytest.mark.parametrize(("model", "shape"), [(Neighbours(), (2, 6, 5)), (Waves(), (2, 6))])
def test_features_that_an_operator_takes_for_positions_are_features(
    model: nn.Module, shape: tuple[int, ...]
) -> None:
    spec = find_symmetries(model, torch.randn(shape))
    assert spec.groups == ()
    assert spec.feature_coverage == 0.0
    assert spec.spaces[0].reason in why_still(spec)


def test_spaces_are_part_of_the_spec_and_of_what_is_pruned() -> None:
    from onefold.symmetry.pruning import REFUTED, without

    spec = find_symmetries(pair(Partly)[0], words()[0])
    assert SymmetrySpec.from_json(spec.to_json()) == spec
    left = without(spec, {spec.groups[0].name}, {})
    assert left.spaces[0].reason == REFUTED
    assert left.feature_coverage == 0.0
    assert "cummax" in why_still(left)
