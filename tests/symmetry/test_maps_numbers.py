"""Maps and what they do to tensors, on small cases written out by hand, and where maps are told
apart.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from onefold.errors import SymmetryError
from onefold.layers import Norm
from onefold.symmetry import GroupMap, SymmetrySpec, apply_maps, map_features
from onefold.symmetry.action import back_matrix
from onefold.symmetry.axes import Case, Fixed, Group, Live, Prod, Slot, Sum
from onefold.symmetry.maps import (
    case_indices,
    check_maps,
    fibre_shape,
    is_rectangular,
    keeps_function,
    leaves,
    needs_folding,
)

ALL = frozenset({"permutation", "scale", "sign", "orthogonal", "invertible"})


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def group_of(*maps: str, dense: bool = False, folded: tuple[str, ...] = (), size: int = 3) -> Group:
    return Group("g0", size, frozenset(maps), (), dense=dense, folded=frozenset(folded))


TURN = torch.tensor([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
SHEAR = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]], dtype=torch.float64)


def dense(forward: Tensor, inverse: Tensor | None = None) -> GroupMap:
    return GroupMap("dense", forward, torch.linalg.inv(forward) if inverse is None else inverse)


MADE = [
    GroupMap("permutation", torch.tensor([2, 0, 1])),
    GroupMap("scale", vector(2, 4, 0.5)),
    dense(SHEAR),
]


def test_identities_of_all_kinds() -> None:
    for kind in ("permutation", "scale", "sign", "dense"):
        assert torch.equal(
            GroupMap.identity(4, kind).dense().forward, torch.eye(4, dtype=torch.float64)
        )  # type: ignore[arg-type]
        assert GroupMap.identity(4, kind).size == 4  # type: ignore[arg-type]
    assert torch.equal(GroupMap.identity(3, "dense").inverted().forward, torch.eye(3).double())


def test_inverses_and_sequences() -> None:
    first, second = (
        GroupMap("permutation", torch.tensor([2, 0, 1])),
        GroupMap("permutation", torch.tensor([1, 0, 2])),
    )
    assert first.inverted().forward.tolist() == [1, 2, 0]
    assert first.then(second).forward.tolist() == [0, 2, 1]
    scale = GroupMap("scale", vector(2, 4, 0.5))
    assert scale.inverted().forward.tolist() == [0.5, 0.25, 2.0]
    assert scale.then(scale).forward.tolist() == [4.0, 16.0, 0.25]
    assert scale.then(scale).kind == "scale"
    assert torch.equal(scale.dense().forward, torch.diag(vector(2, 4, 0.5)))
    assert torch.equal(scale.dense().inverse, torch.diag(vector(0.5, 0.25, 2)))
    mixed = scale.then(first)
    assert mixed.kind == "dense"
    assert (mixed.forward @ vector(1, 10, 100)).tolist() == [50.0, 2.0, 40.0]
    fibred = GroupMap("permutation", torch.tensor([[0, 1, 2], [2, 1, 0]]))
    assert fibred.then(second).forward.tolist() == [[1, 0, 2], [1, 2, 0]]
    assert fibred.dense().forward[1].tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert torch.equal(fibred.dense().inverse, fibred.dense().forward.transpose(-1, -2))
    assert fibred.inverted().forward.tolist() == [[0, 1, 2], [2, 1, 0]]
    assert GroupMap(
        "permutation", torch.tensor([[1, 2, 0], [2, 0, 1]])
    ).inverted().forward.tolist() == [[2, 0, 1], [1, 2, 0]]
    bare = GroupMap("dense", TURN)
    for wrong in (bare.inverted, bare.dense, lambda: bare.then(first)):
        with pytest.raises(SymmetryError, match="inverse"):
            wrong()
    turned = dense(SHEAR).inverted()
    assert torch.equal(turned.forward, torch.linalg.inv(SHEAR))
    assert turned.inverse is not None
    assert torch.equal(turned.inverse, SHEAR)


@pytest.mark.parametrize(
    ("forward", "maps", "kept"),
    [
        (TURN, ("orthogonal",), True),
        (TURN, ("invertible",), True),
        (TURN, ("permutation", "scale"), False),
        (TURN, ("orthogonal_mean",), False),
        (SHEAR, ("orthogonal", "orthogonal_mean"), False),
        (SHEAR, ("invertible",), True),
        (torch.eye(3)[[1, 2, 0]].double(), ("orthogonal_mean",), True),
        (
            2 * torch.eye(3).double() / 3 @ torch.ones(3, 3).double() / 1 - torch.eye(3).double(),
            ("orthogonal_mean",),
            True,
        ),
    ],
)
def test_which_matrices_keep_a_function(forward: Tensor, maps: tuple[str, ...], kept: bool) -> None:
    assert keeps_function(group_of(*maps), dense(forward)) == kept
    assert keeps_function(group_of(folded=maps), dense(forward), folded=True) == kept
    assert not keeps_function(group_of(folded=maps), dense(forward))
    off = dense(
        forward, torch.linalg.inv(forward) + 1e-3
    )  # no inverse to the precision of its numbers
    assert not keeps_function(group_of(*maps), off)
    near = dense(forward, torch.linalg.inv(forward) + 2e-6)
    assert keeps_function(group_of(*maps), near) == kept
    half = GroupMap(
        "dense",
        forward.to(torch.bfloat16),
        torch.linalg.inv(forward.to(torch.bfloat16).double()) + 2e-4,
    )
    assert keeps_function(group_of("invertible"), half)


def test_which_other_maps_keep_a_function() -> None:
    assert keeps_function(group_of(), GroupMap.identity(3))
    for kind in ("scale", "sign"):
        assert keeps_function(group_of(kind), GroupMap.identity(3, kind))  # type: ignore[arg-type]
        assert not keeps_function(group_of("permutation"), GroupMap.identity(3, kind))  # type: ignore[arg-type]
    wide = GroupMap("dense", torch.randn(4, 3), torch.randn(3, 4))
    assert is_rectangular(wide)
    assert not is_rectangular(dense(TURN))
    assert not is_rectangular(GroupMap("dense", torch.randn(2, 4, 3)))
    assert not keeps_function(group_of(*ALL), wide)
    assert not keeps_function(group_of(*ALL), GroupMap("dense", TURN))


def spec_of(
    group: Group,
    axes: dict[str, tuple[object, ...]],
    slots: tuple[Slot, ...],
    others: tuple[Group, ...] = (),
    **more: object,
) -> SymmetrySpec:
    return SymmetrySpec((replace(group, slots=slots), *others), axes, {}, (), **more)  # type: ignore[arg-type]


PRODUCER, CONSUMER = Slot("w", 0, "producer"), Slot("v", 1, "consumer")
AXES = {"w": (Live("g0", 3), Fixed("f0", 2)), "v": (Fixed("f1", 2), Live("g0", 3))}


@pytest.mark.parametrize("made", MADE, ids=lambda m: m.kind)
def test_what_maps_do_to_producers_and_consumers(made: GroupMap) -> None:
    spec = spec_of(group_of(*ALL, dense=True), AXES, (PRODUCER, CONSUMER))
    generator = torch.Generator().manual_seed(0)
    state = {
        "w": torch.randn(3, 2, generator=generator).double(),
        "v": torch.randn(2, 3, generator=generator).double(),
        "n": torch.ones(2),
    }
    moved = apply_maps(state, spec, {"g0": made})
    forward, inverse = made.dense().forward, made.dense().inverse
    assert inverse is not None
    torch.testing.assert_close(moved["w"], forward @ state["w"])
    torch.testing.assert_close(moved["v"], state["v"] @ inverse)
    torch.testing.assert_close(moved["v"] @ moved["w"], state["v"] @ state["w"])
    assert torch.equal(moved["n"], state["n"])
    value = torch.randn(5, 3, generator=generator).double()
    torch.testing.assert_close(
        map_features(value, (Fixed("f", 5), Live("g0", 3)), spec, {"g0": made}), value @ forward.T
    )
    square = value.T @ value
    torch.testing.assert_close(
        map_features(square, (Live("g0", 3), Live("g0", 3)), spec, {"g0": made}),
        forward @ square @ forward.T,
    )
    back = back_matrix(Live("g0", 3), spec, {"g0": made})
    torch.testing.assert_close(back, inverse)


def test_what_maps_do_to_norms() -> None:
    names = ("scale", "shift", "mean", "variance")
    slots = tuple(
        Slot(name, 0, role)
        for name, role in zip(names, ("scale", "producer", "producer", "variance"), strict=True)
    )
    norm = Norm("norm", *names, 0.5)
    spec = spec_of(
        group_of(*ALL, dense=True), dict.fromkeys(names, (Live("g0", 3),)), slots, norms=(norm,)
    )
    state = {name: vector(1.0 + k, 2.0 + k, 3.0 + k) for k, name in enumerate(names)}
    scaled = apply_maps(state, spec, {"g0": GroupMap("scale", vector(2, 4, 0.5))})
    assert scaled["variance"].tolist() == [4 * 4.5 - 0.5, 16 * 5.5 - 0.5, 0.25 * 6.5 - 0.5]
    assert scaled["scale"].tolist() == [2.0, 8.0, 1.5]
    assert scaled["mean"].tolist() == [6.0, 16.0, 2.5]
    signed = apply_maps(state, spec, {"g0": GroupMap("sign", vector(-1, 1, -1))})
    assert signed["shift"].tolist() == [-2.0, 3.0, -4.0]
    assert torch.equal(signed["scale"], state["scale"])
    assert torch.equal(signed["variance"], state["variance"])
    turned = apply_maps(state, spec, {"g0": dense(TURN)})
    torch.testing.assert_close(turned["mean"], TURN @ state["mean"])
    assert torch.equal(turned["scale"], state["scale"])
    wide = GroupMap("dense", torch.ones(4, 3).double(), torch.ones(3, 4).double())
    resized = apply_maps(state, spec, {"g0": wide})
    assert resized["scale"].tolist() == [1.0] * 4
    assert resized["variance"].tolist() == [0.5] * 4
    assert resized["mean"].tolist() == [12.0] * 4


def test_maps_that_differ_by_fibre() -> None:
    """Two heads of three coordinates, which change places after each has been mapped by its own
    map.
    """
    heads = Group(
        "g1", 2, frozenset({"permutation"}), (Slot("w", 0, "producer"), Slot("v", 1, "consumer"))
    )
    own = Group("g0", 3, ALL, (), over=("g1",), dense=True)
    axes = {
        "w": (Prod((Live("g1", 2), Live("g0", 3))), Fixed("f0", 2)),
        "v": (Fixed("f1", 2), Prod((Live("g1", 2), Live("g0", 3)))),
    }
    spec = spec_of(own, axes, (PRODUCER, CONSUMER), (heads,))
    assert fibre_shape(spec, spec.group("g0")) == (2,)
    assert fibre_shape(spec, spec.group("g1")) == ()
    generator = torch.Generator().manual_seed(0)
    state = {
        "w": torch.randn(6, 2, generator=generator).double(),
        "v": torch.randn(2, 6, generator=generator).double(),
    }
    swap = GroupMap("permutation", torch.tensor([1, 0]))
    for made in (
        GroupMap("permutation", torch.tensor([[2, 0, 1], [0, 2, 1]])),
        GroupMap("dense", torch.stack([TURN, SHEAR]), torch.linalg.inv(torch.stack([TURN, SHEAR]))),
        GroupMap("scale", torch.stack([vector(1, 2, 3), vector(4, 5, 6)])),
    ):
        moved = apply_maps(state, spec, {"g0": made, "g1": swap})
        forward, inverse = made.dense().forward, made.dense().inverse
        assert inverse is not None
        blocks = [forward[k] @ state["w"][3 * k : 3 * k + 3] for k in (1, 0)]
        torch.testing.assert_close(moved["w"], torch.cat(blocks))
        torch.testing.assert_close(
            moved["v"],
            torch.cat([state["v"][:, 3 * k : 3 * k + 3] @ inverse[k] for k in (1, 0)], 1),
        )


@pytest.mark.parametrize("made", MADE, ids=lambda m: m.kind)
def test_one_map_serves_all_fibres(made: GroupMap) -> None:
    heads = Group("g1", 2, frozenset({"permutation"}), ())
    axes = {
        "w": (Prod((Live("g1", 2), Live("g0", 3))), Fixed("f0", 2)),
        "v": (Fixed("f1", 2), Prod((Live("g1", 2), Live("g0", 3)))),
    }
    spec = spec_of(
        Group("g0", 3, ALL, (), over=("g1",), dense=True), axes, (PRODUCER, CONSUMER), (heads,)
    )
    state = {
        "w": torch.arange(12.0).reshape(6, 2).double(),
        "v": torch.arange(12.0).reshape(2, 6).double(),
    }
    moved = apply_maps(state, spec, {"g0": made})
    forward, inverse = made.dense().forward, made.dense().inverse
    assert inverse is not None
    torch.testing.assert_close(moved["w"], torch.block_diag(forward, forward) @ state["w"])
    torch.testing.assert_close(moved["v"], state["v"] @ torch.block_diag(inverse, inverse))


def test_tied_tensors_are_changed_once() -> None:
    axes = {"w": AXES["w"], "again": AXES["w"], "v": AXES["v"]}
    spec = spec_of(group_of(*ALL), axes, (PRODUCER, CONSUMER), tied=(("w", "again"),))
    weight = torch.arange(6.0).reshape(3, 2)
    moved = apply_maps(
        {"w": weight, "again": weight, "v": torch.ones(2, 3), "n": torch.ones(1)},
        spec,
        {"g0": MADE[0]},
    )
    assert moved["w"] is moved["again"]
    assert moved["w"].tolist() == [[4, 5], [0, 1], [2, 3]]
    assert moved.keys() == {"w", "again", "v", "n"}


def test_what_cases_are_told_apart_by() -> None:
    term = Sum(
        (
            Fixed("f0", 2),
            Case(
                "i",
                (Live("g0", 3), Prod((Fixed("f1", 1), Case("j", (Live("g0", 3), Fixed("f2", 3)))))),
            ),
        )
    )
    assert case_indices(term) == {"i", "j"}
    assert case_indices(Live("g0", 3)) == case_indices(Fixed("f0", 2)) == set()
    assert [getattr(leaf, "group", None) or leaf.name for leaf in leaves(term)] == [
        "f0",
        "g0",
        "f1",
        "g0",
        "f2",
    ]  # type: ignore[union-attr]


def test_maps_of_a_segment_leave_the_other_one() -> None:
    axes = {"w": (Sum((Fixed("f2", 2), Live("g0", 3))), Fixed("f0", 2)), "v": AXES["v"]}
    spec = spec_of(group_of(*ALL, dense=True), axes, (PRODUCER, CONSUMER))
    state = {"w": torch.arange(10.0).reshape(5, 2), "v": torch.arange(6.0).reshape(2, 3)}
    moved = apply_maps(state, spec, {"g0": GroupMap("permutation", torch.tensor([2, 0, 1]))})
    assert moved["w"].tolist() == [[0, 1], [2, 3], [8, 9], [4, 5], [6, 7]]
    assert moved["w"].dtype == torch.float32
    with pytest.raises(SymmetryError, match="find the symmetries again"):
        apply_maps({**state, "w": torch.zeros(6, 2)}, spec, {"g0": GroupMap.identity(3)})


@pytest.mark.parametrize(
    ("group", "made", "message"),
    [
        (
            group_of(*ALL, dense=True),
            GroupMap("dense", torch.ones(4, 3), torch.ones(4, 3)),
            "into another width needs an inverse",
        ),
        (
            group_of(*ALL, dense=True),
            GroupMap("dense", torch.ones(4, 3)),
            "into another width needs an inverse",
        ),
        (group_of(*ALL), GroupMap("dense", torch.ones(4, 3), torch.ones(3, 4)), "has shape"),
        (group_of("permutation", "scale"), dense(TURN), "takes no dense map"),
        (
            group_of(*ALL, dense=True),
            GroupMap("dense", TURN, TURN[:2]),
            "needs an inverse of shape",
        ),
        (
            group_of("permutation"),
            GroupMap("permutation", torch.tensor([0, 1, 1])),
            "no permutation",
        ),
        (
            group_of("permutation"),
            GroupMap("permutation", torch.tensor([1, 2, 3])),
            "no permutation",
        ),
        (group_of("permutation", "sign"), GroupMap("scale", vector(1, 2, 3)), "takes no scale map"),
        (group_of("permutation", "scale"), GroupMap("sign", vector(1, -1, 1)), "takes no sign map"),
        (group_of("permutation"), GroupMap.identity(4), "has shape"),
    ],
)
def test_maps_that_do_not_fit_are_refused(group: Group, made: GroupMap, message: str) -> None:
    with pytest.raises(SymmetryError, match=message):
        check_maps(spec_of(group, AXES, (PRODUCER, CONSUMER)), {"g0": made})


def test_which_maps_need_the_scales_of_norms_folded() -> None:
    for group, made, needed in (
        (group_of("permutation", folded=("orthogonal",)), dense(TURN), True),
        (group_of("permutation", "orthogonal", folded=("orthogonal",)), dense(TURN), False),
        (group_of("permutation", folded=("orthogonal",), dense=True), dense(TURN), False),
        (group_of("permutation", folded=("orthogonal",)), GroupMap.identity(3), False),
    ):
        spec = spec_of(group, AXES, (PRODUCER, CONSUMER))
        check_maps(spec, {"g0": made})
        assert needs_folding(spec, {"g0": made}) == (["g0"] if needed else [])
