"""What maps do to tensors, on small cases written out by hand."""

from __future__ import annotations

import pytest
import torch
from map_cases import dense, group_of, spec_of, vector

from onefold.errors import SymmetryError
from onefold.layers import Norm
from onefold.symmetry import GroupMap, apply_maps, map_features
from onefold.symmetry.action import back_matrix, mapped_tensors
from onefold.symmetry.axes import Fixed, Group, Live, Prod, Slot, Sum
from onefold.symmetry.maps import check_maps, fibre_shape

ALL = frozenset({"permutation", "scale", "sign", "orthogonal", "invertible"})

TURN = torch.tensor([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
SHEAR = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]], dtype=torch.float64)

MADE = [
    GroupMap("permutation", torch.tensor([2, 0, 1])),
    GroupMap("scale", vector(2, 4, 0.5)),
    dense(SHEAR),
]

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


@pytest.mark.parametrize("made", MADE, ids=lambda m: m.kind)
@pytest.mark.parametrize("tied", [(), (("w", "again"),)])
def test_only_tensors_of_the_maps_groups_change_and_tied_ones_once(
    made: GroupMap, tied: tuple[tuple[str, ...], ...]
) -> None:
    other = Group("g1", 2, ALL, (Slot("u", 0, "producer"),))
    axes = {
        **AXES,
        "u": (Live("g1", 2), Fixed("f2", 2)),
        "free": (Fixed("f3", 4),),
        "again": (Live("g0", 3), Fixed("f0", 2)),
    }
    slots = (PRODUCER, CONSUMER) if tied else (PRODUCER, CONSUMER, Slot("again", 0, "producer"))
    spec = spec_of(group_of(*ALL, dense=True), axes, slots, (other,), tied=tied)
    w = torch.arange(6.0, dtype=torch.float64).reshape(3, 2)
    state = {"w": w, "v": w.T, "u": torch.ones(2, 2), "free": torch.ones(4), "again": w}
    changed = mapped_tensors(state, spec, {"g0": made})
    assert set(changed) == ({"w", "v"} if tied else {"w", "v", "again"})
    moved = apply_maps(state, spec, {"g0": made})
    assert set(moved) == set(state)
    torch.testing.assert_close(moved["again"], made.dense().forward @ w)
    assert torch.equal(moved["u"], state["u"])
    assert torch.equal(moved["free"], state["free"])
    assert mapped_tensors(state, spec, {}) == {}
