"""The tensors alone: dead units, fibres, cases, and every refusal."""

from __future__ import annotations

import pytest
import symmetry_networks as nets
import symmetry_zoo as zoo
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

import onefold
from onefold.errors import SymmetryError
from onefold.symmetry import find_symmetries
from onefold.widths import resized_state

X = torch.randn(4, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
MLP = nets.mlp().double()
SPEC = find_symmetries(MLP, X)


@given(st.permutations(range(16)), st.integers(0, 4), st.integers(0, 999))
def test_an_order_with_dead_units_between_keeps_the_function(
    order: list[int], dead: int, seed: int
) -> None:
    """Each unit is there once, so nothing is lost, wherever the dead ones are."""
    generator = torch.Generator().manual_seed(seed)
    units = torch.tensor([*order, *[-1] * dead])
    units = units[torch.randperm(len(units), generator=generator)]
    state = resized_state(MLP.state_dict(), SPEC, {"g0": units})
    wide = onefold.resize(MLP, SPEC, {"g0": 16 + dead})
    torch.testing.assert_close(functional_call(wide, state, (X,)), MLP(X))
    assert bool((state["0.weight"][units < 0] == 0).all())
    assert bool((state["2.weight"][:, units < 0] == 0).all())


def test_dead_units_of_norms_stay_dead() -> None:
    model, x = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1)), 0
    x = torch.randn(2, 1, 5, 5)
    state = resized_state(model.state_dict(), find_symmetries(model, x), {"g0": torch.tensor([-1])})
    assert [float(state[f"1.{n}"]) for n in ("weight", "bias", "running_mean", "running_var")] == [
        1.0,
        0.0,
        0.0,
        1.0,
    ]
    assert not state["0.weight"].any()


def test_units_may_differ_by_fibre() -> None:
    """Every head keeps other features: the same as cutting each head by hand."""
    model, x = zoo.EinsumAttention(), torch.randn(2, 5, 6)
    spec = find_symmetries(model, x)
    values = next(g for g in spec.groups if g.over and "v" in {s.tensor for s in g.slots})
    units = torch.tensor([[0, 1], [2, 3], [3, -1]])
    state = resized_state(model.state_dict(), spec, {values.name: units})
    assert state["v"].shape == (6, 3, 2)
    for head, kept in enumerate(units.tolist()):
        for place, unit in enumerate(kept):
            wanted = model.v[:, head, unit] if unit >= 0 else torch.zeros(6)
            assert torch.equal(state["v"][:, head, place], wanted)
            wanted = model.out[head, unit] if unit >= 0 else torch.zeros(8)
            assert torch.equal(state["out"][head, place], wanted)
    assert torch.equal(state["q"], model.q)


def test_groups_at_other_indices_of_one_axis_have_one_width() -> None:
    model, x = nets.StackedGates(), torch.randn(3, 5)
    spec = find_symmetries(model, x)
    small = onefold.resize(model, spec, {spec.groups[0].name: 3})
    assert small.fused.out_features == 9


@pytest.mark.parametrize(
    ("units", "match"),
    [
        ({"g9": torch.tensor([0])}, "has no group 'g9'"),
        ({"g0": torch.tensor([0.5])}, "give int64 of shape"),
        ({"g0": torch.tensor([[0, 1]])}, "give int64 of shape"),
        ({"g0": torch.tensor([16])}, "has the units 0 to 15"),
        ({"g0": torch.tensor([-2])}, "has the units 0 to 15"),
        ({"g0": torch.tensor([], dtype=torch.int64)}, "has the units 0 to 15"),
    ],
)
def test_what_are_no_units_is_refused(units: dict[str, torch.Tensor], match: str) -> None:
    with pytest.raises(SymmetryError, match=match):
        resized_state(MLP.state_dict(), SPEC, units)


def test_a_state_of_another_network_is_refused() -> None:
    state = MLP.state_dict()
    with pytest.raises(SymmetryError, match=r"lacks '2\.weight'"):
        resized_state(
            {k: v for k, v in state.items() if k != "2.weight"}, SPEC, {"g0": torch.tensor([0])}
        )
    with pytest.raises(SymmetryError, match="has shape"):
        resized_state({**state, "2.weight": torch.zeros(3, 3)}, SPEC, {"g0": torch.tensor([0])})
