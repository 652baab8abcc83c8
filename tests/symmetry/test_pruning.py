"""What the proof refutes is found by bisection and dropped, and nothing else is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
import symmetry_networks as nets
import symmetry_zoo as zoo
import torch
from refuted_specs import deep, swapped

from onefold.symmetry import SymmetrySpec, find_symmetries, prune, verify_symmetries
from onefold.symmetry.axes import Group
from onefold.symmetry.pruning import REFUTED, offenders


def test_sound_specs_are_left_as_they_are() -> None:
    for model, x in ((deep(), torch.randn(5, 4)), (zoo.EinsumAttention(), torch.randn(2, 5, 6))):
        spec = find_symmetries(model, x)
        found = prune(spec, model, x)
        assert found.spec is spec
        assert (found.dropped, found.narrowed, str(found)) == ((), {}, "")


def test_wrong_groups_are_found_and_frozen_and_the_others_stay() -> None:
    model, x = deep(), torch.randn(5, 4)
    right = find_symmetries(model, x)
    wrong = swapped(right, "g0", "g1")
    found = prune(wrong, model, x)
    assert [group.name for group in found.dropped] == ["g0", "g1"]
    assert [group.name for group in found.spec.groups] == ["g2", "g3", "g4"]
    assert verify_symmetries(found.spec, model, x).passed
    assert found.spec.frozen["0.weight"] == found.spec.frozen["0.bias"] == REFUTED
    assert "2.weight" in found.spec.frozen
    assert "4.weight" not in found.spec.frozen  # its rows still move
    lost = 6 * 4 + 6 + 6 * 6 + 6
    assert found.spec.coverage == pytest.approx(right.coverage - lost / right.parameters)
    assert "group g0 (0.weight, 0.bias" in str(found)
    assert SymmetrySpec.from_json(found.spec.to_json()) == found.spec


def test_a_wrong_class_is_taken_away_and_the_group_stays() -> None:
    model, x = deep(), torch.randn(5, 4)
    spec = find_symmetries(model, x)
    claim = tuple(
        dataclasses.replace(g, maps=g.maps | {"sign", "orthogonal"}) if g.name == "g3" else g
        for g in spec.groups
    )
    found = prune(dataclasses.replace(spec, groups=claim), model, x)
    assert found.dropped == ()
    assert found.narrowed == {"g3": {"sign", "orthogonal"}}
    assert found.spec.group("g3").maps == {"permutation", "scale"}
    assert "group g3 no longer takes orthogonal, sign maps" in str(found)


def test_fibres_of_a_frozen_group_are_numbered_by_what_stays() -> None:
    model, x = nets.FlatCNN(), torch.randn(2, 1, 8, 8)
    spec = find_symmetries(model, x)
    index = next(g.over[0] for g in spec.groups if g.over)
    from onefold.symmetry.pruning import without

    left = without(spec, {index}, {})
    assert index not in {g.name for g in left.groups}
    assert verify_symmetries(left, model, x).passed


def test_bisection_finds_offenders_alone_and_in_company() -> None:
    groups = [Group(f"g{k}", 4, frozenset(), ()) for k in range(13)]

    def found(wrong: set[str], pairs: Sequence[set[str]] = ()) -> tuple[list[str], int]:
        calls = 0

        def test(own: Sequence[Group]) -> bool:
            nonlocal calls
            calls += 1
            names = {g.name for g in own}
            return bool(names & wrong) or any(pair <= names for pair in pairs)

        return [g.name for g in offenders(groups, [], test)], calls

    assert found(set()) == ([], 1)
    assert found({"g3", "g11"})[0] == ["g3", "g11"]
    assert found({"g3"})[1] <= 10
    assert found(set(), [{"g2", "g9"}])[0] == ["g9"]
    assert found({"g0"}, [{"g1", "g2"}, {"g5", "g12"}])[0] == ["g0", "g2", "g12"]
