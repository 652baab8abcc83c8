"""Maps on a state dict: exact inverses, composition, precision, fibres, and every refusal."""

from __future__ import annotations

import dataclasses

import pytest
import symmetry_networks as nets
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from map_draws import all_maps, drawn
from torch import Tensor, nn
from torch.func import functional_call

from onefold.errors import SymmetryError
from onefold.sources.networks import digits, resnet20
from onefold.symmetry import GroupMap, SymmetrySpec, apply_maps, find_symmetries
from onefold.symmetry.maps import fibre_shape


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: tensor.double() if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }


kinds = st.sampled_from(["permutation", "scale", "sign", "dense"])


@settings(deadline=None)
@given(kinds, kinds, st.integers(2, 9), st.integers(0, 999))
def test_composition_and_inverse_agree_with_matrices(
    first: str, second: str, size: int, seed: int
) -> None:
    a, b = drawn(first, size, seed), drawn(second, size, seed + 1)
    both = a.then(b)
    torch.testing.assert_close(both.dense().forward, b.dense().forward @ a.dense().forward)
    torch.testing.assert_close(both.dense().inverse, a.dense().inverse @ b.dense().inverse)
    torch.testing.assert_close(
        a.then(a.inverted()).dense().forward,
        torch.eye(size, dtype=torch.float64),
        atol=1e-8,
        rtol=0,
    )
    assert both.kind == (first if first == second else "dense")


def test_a_permutation_means_new_i_is_old_forward_i() -> None:
    forward = torch.tensor([2, 0, 1])
    x = torch.tensor([10.0, 20.0, 30.0], dtype=torch.float64)
    assert (
        (GroupMap("permutation", forward).dense().forward @ x).tolist()
        == x[forward].tolist()
        == [30.0, 10.0, 20.0]
    )
    assert GroupMap.identity(3).forward.tolist() == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["permutation", "scale"])
def test_maps_are_undone_by_their_inverses(kind: str) -> None:
    model = resnet20(0.25)
    spec, state = find_symmetries(model, torch.randn(2, 3, 16, 16)), state_of(model)
    maps = all_maps(spec, kind)
    moved = apply_maps(state, spec, maps)
    assert not torch.equal(moved["conv1.weight"], state["conv1.weight"])
    back = apply_maps(moved, spec, {name: m.inverted() for name, m in maps.items()})
    assert back.keys() == state.keys()
    for name, tensor in state.items():
        torch.testing.assert_close(back[name], tensor, atol=1e-12, rtol=1e-12)


def test_dense_maps_act_on_producers_by_t_and_on_consumers_by_its_inverse() -> None:
    model = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 4), nn.Linear(4, 2)).double()
    x = torch.randn(3, 5, dtype=torch.float64)
    spec = find_symmetries(model, x)
    assert all(group.dense and "invertible" in group.maps for group in spec.groups)
    maps = all_maps(spec, "dense")
    moved = apply_maps(model.state_dict(), spec, maps)
    torch.testing.assert_close(moved["0.weight"], maps["g0"].forward @ model[0].weight.detach())
    torch.testing.assert_close(
        moved["1.weight"], maps["g1"].forward @ model[1].weight.detach() @ maps["g0"].inverse
    )
    torch.testing.assert_close(
        functional_call(model, moved, (x,)), model(x)
    )  # a linear network: dense maps keep its function


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["permutation", "scale"])
def test_dense_matrices_of_sparse_maps_give_the_same_linear_weights(kind: str) -> None:
    model = digits(6)
    spec, state = find_symmetries(model, torch.randn(2, 1, 8, 8)), state_of(model)
    maps = all_maps(spec, kind)
    sparse, dense = (
        apply_maps(state, spec, maps),
        apply_maps(state, spec, {name: m.dense() for name, m in maps.items()}),
    )
    for name in ("conv1.weight", "conv2.weight", "conv3.weight", "conv3.bias", "head.weight"):
        torch.testing.assert_close(dense[name], sparse[name])
    assert torch.equal(
        dense["norm1.running_var"], state["norm1.running_var"]
    )  # the caller has folded the norms


def test_fibred_maps_keep_the_function_of_a_grouped_convolution() -> None:
    model, x = nets.FlatCNN().double(), torch.randn(2, 1, 8, 8, dtype=torch.float64)
    spec = find_symmetries(model, x)
    for kind in ("permutation", "dense"):
        maps = {
            g.name: drawn(kind if g.dense else "permutation", g.size, 5, fibre_shape(spec, g))
            for g in spec.groups
        }
        assert (
            any(m.forward.dim() > 1 for m in maps.values() if m.kind == "permutation")
            or kind == "dense"
        )
        moved = apply_maps(model.state_dict(), spec, maps)
        if kind == "permutation":
            torch.testing.assert_close(functional_call(model, moved, (x,)), model(x))
        back = apply_maps(moved, spec, _undo(spec, maps))
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(back[name], tensor)


def _undo(spec: SymmetrySpec, maps: dict[str, GroupMap]) -> dict[str, GroupMap]:
    """The inverses: fibres are numbered as they are before a map, so their inverses follow the map
    of their index.
    """
    undone = {}
    for group in spec.groups:
        inverse = maps[group.name].inverted()
        if group.over and group.over[0] in maps:
            order = maps[group.over[0]].forward
            inverse = GroupMap(
                inverse.kind,
                inverse.forward[order],
                None if inverse.inverse is None else inverse.inverse[order],
            )
        undone[group.name] = inverse
    return undone


def test_dtypes_devices_and_inputs_are_kept_and_products_are_exact() -> None:
    model = digits(6)
    spec = find_symmetries(model, torch.randn(2, 1, 8, 8))
    maps = all_maps(spec, "dense")
    half = {
        name: tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    before = {name: tensor.clone() for name, tensor in half.items()}
    moved = apply_maps(half, spec, maps)
    exact = apply_maps(
        {name: t.double() if t.is_floating_point() else t for name, t in half.items()}, spec, maps
    )
    for name, tensor in half.items():
        assert moved[name].dtype == tensor.dtype
        assert moved[name].data_ptr() != tensor.data_ptr()
        assert torch.equal(tensor, before[name])
        assert torch.equal(moved[name], exact[name].to(tensor.dtype))  # rounded once, at the end


@pytest.mark.slow
def test_groups_without_a_map_stay_and_nothing_is_shared_with_the_input() -> None:
    model = nets.UNet()
    spec, state = find_symmetries(model, torch.randn(2, 3, 16, 16)), dict(model.state_dict())
    same = apply_maps(state, spec, {})
    assert all(
        torch.equal(same[name], tensor) and same[name].data_ptr() != tensor.data_ptr()
        for name, tensor in state.items()
    )


def test_tied_tensors_stay_tied() -> None:
    model = nets.TwoOutputs()
    spec = find_symmetries(model, torch.randn(2, 6))
    moved = apply_maps(model.state_dict(), spec, all_maps(spec, "permutation"))
    assert moved["first.weight"] is moved["second.weight"]


@pytest.mark.slow
def test_maps_that_do_not_fit_are_refused() -> None:
    model = nets.mobile()
    spec, state = find_symmetries(model, torch.randn(2, 3, 16, 16)), model.state_dict()
    first = spec.groups[0]
    narrow = next(group for group in spec.groups if not group.dense)
    signed = next(group for group in spec.groups if "sign" not in group.maps)
    cases: list[tuple[dict[str, GroupMap], str]] = [
        ({"g99": GroupMap.identity(3)}, "has no group 'g99'"),
        ({first.name: GroupMap.identity(first.size + 1)}, r"has shape .* it needs"),
        ({narrow.name: GroupMap.identity(narrow.size, "dense")}, "takes no dense map"),
        (
            {first.name: GroupMap("permutation", torch.zeros(first.size, dtype=torch.int64))},
            "is no permutation",
        ),
        ({signed.name: drawn("sign", signed.size, 0)}, "takes no sign map"),
    ]
    for maps, message in cases:
        with pytest.raises(SymmetryError, match=message):
            apply_maps(state, spec, maps)
    dense = next(group for group in spec.groups if group.dense)
    with pytest.raises(SymmetryError, match="needs an inverse"):
        apply_maps(state, spec, {dense.name: GroupMap("dense", torch.eye(dense.size))})
    cut = {name: tensor for name, tensor in state.items() if name != first.slots[0].tensor}
    with pytest.raises(SymmetryError, match="lacks"):
        apply_maps(cut, spec, {first.name: GroupMap.identity(first.size)})
    wrong = {**state, first.slots[0].tensor: torch.zeros(2, 2)}
    with pytest.raises(SymmetryError, match="find the symmetries again"):
        apply_maps(wrong, spec, {first.name: GroupMap.identity(first.size)})
    with pytest.raises(SymmetryError, match="cannot follow each other"):
        GroupMap.identity(3).then(GroupMap.identity(4))


def test_a_scaled_variance_makes_the_identity_exact() -> None:
    """With c^2 v instead of c^2 (v + eps) - eps a large eps would show."""
    model = (
        nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, eps=0.5), nn.ReLU(), nn.Linear(6, 2))
        .double()
        .eval()
    )
    x = torch.randn(5, 4, dtype=torch.float64)
    spec = find_symmetries(model, x)
    moved = apply_maps(model.state_dict(), spec, all_maps(spec, "scale"))
    torch.testing.assert_close(
        functional_call(model, moved, (x,)), model(x), rtol=1e-12, atol=1e-12
    )
    blind = dataclasses.replace(spec, norms=(), epsilons={})
    wrong = apply_maps(model.state_dict(), blind, all_maps(spec, "scale"))
    assert (functional_call(model, wrong, (x,)) - model(x)).abs().max() > 1e-3
