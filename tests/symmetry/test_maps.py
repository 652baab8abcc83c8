"""Maps on small cases written out by hand: identities, inverses, sequences, and what they keep."""

from __future__ import annotations

import pytest
import torch
from map_cases import dense, group_of, spec_of, vector
from torch import Tensor

from onefold.errors import SymmetryError
from onefold.symmetry import GroupMap
from onefold.symmetry.axes import Case, Fixed, Live, Prod, Slot, Sum
from onefold.symmetry.maps import (
    case_indices,
    check_maps,
    dual_of,
    is_rectangular,
    keeps_function,
    leaves,
    maps_of_output,
    needs_folding,
)

ALL = frozenset({"permutation", "scale", "sign", "orthogonal", "invertible"})

TURN = torch.tensor([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
SHEAR = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]], dtype=torch.float64)


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
        assert not keeps_function(group_of("permutation"), GroupMap.identity(3, kind))
    wide = GroupMap("dense", torch.randn(4, 3), torch.randn(3, 4))
    assert is_rectangular(wide)
    assert not is_rectangular(dense(TURN))
    assert not is_rectangular(GroupMap("dense", torch.randn(2, 4, 3)))
    assert not keeps_function(group_of(*ALL), wide)
    assert not keeps_function(group_of(*ALL), GroupMap("dense", TURN))


PRODUCER, CONSUMER = Slot("w", 0, "producer"), Slot("v", 1, "consumer")
AXES = {"w": (Live("g0", 3), Fixed("f0", 2)), "v": (Fixed("f1", 2), Live("g0", 3))}


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


@pytest.mark.parametrize(
    "forward",
    [
        torch.tensor([1, 2, 0]),
        torch.tensor([[1, 2, 0], [2, 0, 1]]),
        torch.tensor([[1, 0, 2], [1, 2, 0], [0, 1, 2]]),
    ],
)
def test_the_matrices_of_a_permutation_undo_each_other_in_every_fibre(forward: Tensor) -> None:
    made = GroupMap("permutation", forward).dense()
    assert made.inverse is not None
    eye = torch.eye(3, dtype=torch.float64).expand_as(made.forward)
    assert torch.equal(made.forward @ made.inverse, eye)
    assert torch.equal(made.forward @ vector(0, 1, 2), forward.double())


@pytest.mark.parametrize(
    "forward",
    [TURN, SHEAR, torch.stack([SHEAR, TURN]), torch.stack([TURN, SHEAR, SHEAR @ TURN, SHEAR.T])],
)
def test_a_map_and_its_dual_keep_products_of_features(forward: Tensor) -> None:
    """(T a) . (T^-T b) = a . b, in every fibre."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, *forward.shape[:-1], 1, generator=generator, dtype=torch.float64)
    dual = dual_of(dense(forward))
    torch.testing.assert_close(((forward @ a) * (dual.forward @ b)).sum(-2), (a * b).sum(-2))
    assert dual.inverse is not None
    torch.testing.assert_close(dual.inverse, torch.linalg.inv(dual.forward))
    mapped = maps_of_output({"g0": dense(forward), "g1": dense(forward)}, ["g1", "other"])
    assert torch.equal(mapped["g0"].forward, forward)
    assert torch.equal(mapped["g1"].forward, dual.forward)


@pytest.mark.parametrize("width", [2, 4])
def test_a_map_into_another_width_needs_its_groups_columns_and_an_inverse(width: int) -> None:
    spec = spec_of(group_of("permutation", dense=True), AXES, (PRODUCER, CONSUMER))
    forward, inverse = torch.ones(width, 3).double(), torch.ones(3, width).double()
    check_maps(spec, {"g0": GroupMap("dense", forward, inverse)})
    for wrong in (None, forward, torch.ones(3, 3).double()):
        with pytest.raises(SymmetryError, match=rf"needs an inverse of shape \(3, {width}\)"):
            check_maps(spec, {"g0": GroupMap("dense", forward, wrong)})
    with pytest.raises(SymmetryError, match=r"has shape .*; it needs \(3, 3\)"):
        check_maps(spec, {"g0": GroupMap("dense", inverse, forward)})
    bound = spec_of(group_of("permutation"), AXES, (PRODUCER, CONSUMER))
    with pytest.raises(SymmetryError, match=r"it needs \(3, 3\)"):
        check_maps(bound, {"g0": GroupMap("dense", forward, inverse)})
