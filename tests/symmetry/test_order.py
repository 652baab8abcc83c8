"""Which maps concern a tensor, and their turns."""

from __future__ import annotations

import torch

from onefold.symmetry import GroupMap
from onefold.symmetry.axes import Fixed, Group, Live, Prod
from onefold.symmetry.order import concerned, in_turn
from onefold.symmetry.spec import SymmetrySpec


def group(name: str, *over: str) -> Group:
    return Group(name, 2, frozenset({"permutation"}), (), over=over)


def spec_of(*groups: Group) -> SymmetrySpec:
    return SymmetrySpec(groups, {}, {}, (), ())


def maps_of(*names: str) -> dict[str, GroupMap]:
    return {name: GroupMap("permutation", torch.tensor([1, 0])) for name in names}


def test_features_of_a_fibre_move_before_the_groups_that_number_it() -> None:
    spec = spec_of(
        group("heads"), group("other"), group("inside", "heads"), group("deep", "inside")
    )
    turns = in_turn(spec, maps_of("heads", "deep", "inside", "other"))
    assert list(turns) == ["other", "deep", "inside", "heads"]
    assert [turn for turn, _ in turns.values()] == [0, 1, 2, 3]
    assert list(in_turn(spec, maps_of("heads", "inside"))) == ["inside", "heads"]


def test_groups_over_themselves_or_one_another_all_get_a_turn() -> None:
    spec = spec_of(group("a", "a"), group("b", "c"), group("c", "b"))
    assert set(in_turn(spec, maps_of("a", "b", "c"))) == {"a", "b", "c"}


def test_maps_of_other_axes_do_not_concern_a_tensor() -> None:
    spec = spec_of(group("heads"), group("inside", "heads"), group("far"))
    axes = (Fixed("", 3), Prod((Live("inside", 2), Fixed("x", 1))))
    maps = maps_of("heads", "inside", "far")
    assert set(concerned(spec, maps, axes)) == {"heads", "inside"}
    assert set(concerned(spec, maps_of("far"), axes)) == set()
