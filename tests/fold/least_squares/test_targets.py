"""Targets of least squares, unit by unit, against their definitions."""

from __future__ import annotations

import copy

import pytest
import torch
from target_networks import (
    SHAPES,
    UNITS,
    Behind,
    Convolved,
    Dense,
    Raw,
    Two,
    inputs,
    member,
    structure,
    targets_of,
    turned,
)
from torch import Tensor, nn

from onefold.fold.least_squares.selection import UnitSelection
from onefold.fold.least_squares.targets import correlations
from onefold.symmetry import GroupMap


def test_correlations_of_units_that_do_not_vary_are_zero() -> None:
    a = torch.randn(50, 3)
    b = torch.stack([2 * a[:, 0] + 1, -a[:, 1], torch.ones(50)], 1)
    torch.testing.assert_close(
        correlations(a, b), torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("kind", [Two, Convolved])
def test_a_unit_that_goes_the_other_way_does_not_enter(kind: type[nn.Module]) -> None:
    """Its correlation is negative and counts as none: it neither cancels the reference's unit nor
    is turned round.
    """
    network, x = member(kind), inputs(kind)
    (hidden, head), own = targets_of(
        [network, turned(network, [0, 3])], x, "correlation", (0.5, 0.5)
    )
    torch.testing.assert_close(hidden, own[0][0])
    torch.testing.assert_close(head, (own[0][1] + own[1][1]) / 2)
    (plain, _), _ = targets_of([network, turned(network, [0, 3])], x, "equal", (0.5, 0.5))
    torch.testing.assert_close(
        plain[:, [0, 3]], torch.zeros_like(plain[:, [0, 3]])
    )  # the control: these units cancel


@pytest.mark.parametrize("kind", [Two, Convolved])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.25, 0.75), (0.2, 0.3, 0.5)])
@pytest.mark.parametrize("reference", [0, 1])
def test_units_enter_by_their_correlation_behind_the_activation(
    kind: type[nn.Module], shares: tuple[float, ...], reference: int
) -> None:
    networks, x = [member(kind, k) for k in range(len(shares))], inputs(kind)
    for name in ("correlation", "equal"):
        (hidden, head), own = targets_of(networks, x, name, shares, reference=reference)
        ours = own[reference][0]
        expected, some = ours.clone(), []
        for k, share in enumerate(shares):
            if k != reference:
                pairs = zip(torch.tanh(ours).T, torch.tanh(own[k][0]).T, strict=True)
                rho = torch.stack([torch.corrcoef(torch.stack([a, b]))[0, 1] for a, b in pairs])
                some.append(rho)
                weight = rho.clamp(min=0.0) if name == "correlation" else torch.ones(UNITS).double()
                expected += share * weight * (own[k][0] - ours)
        assert torch.cat(some).min() < -0.1
        assert torch.cat(some).max() > 0.1
        torch.testing.assert_close(hidden, expected)
        torch.testing.assert_close(
            head, sum(share * rows[1] for share, rows in zip(shares, own, strict=True))
        )


def of_units(kind: type[nn.Module]) -> str:
    (name,) = [group.name for group in structure(kind)[1].groups if group.size == UNITS]
    return name


ORDER = torch.tensor([3, 0, 5, 1, 2, 4])


@pytest.mark.parametrize("kind", [Two, Convolved])
@pytest.mark.parametrize("target", ["equal", "correlation", "selection"])
def test_members_are_brought_to_the_references_order_first(
    kind: type[nn.Module], target: str
) -> None:
    network, x = member(kind), inputs(kind)
    other = copy.deepcopy(network)
    with torch.no_grad():
        for layer in (other.hidden.weight, other.hidden.bias):
            layer.copy_(layer[ORDER])
        other.head.weight.copy_(other.head.weight[:, ORDER])
    maps = {of_units(kind): (GroupMap.identity(UNITS), GroupMap("permutation", ORDER).inverted())}
    (hidden, head), own = targets_of([network, other], x, target, (0.5, 0.5), maps=maps)
    torch.testing.assert_close(hidden, own[0][0])
    torch.testing.assert_close(head, own[0][1])
    (unmapped, _), own = targets_of([network, other], x, "equal", (0.5, 0.5))
    torch.testing.assert_close(unmapped, (own[0][0] + own[1][0]) / 2)


@pytest.mark.parametrize("kind", [Two, Convolved])
def test_dense_maps_act_on_what_members_put_out(kind: type[nn.Module]) -> None:
    networks, x = [member(kind, k) for k in range(2)], inputs(kind)
    matrix = torch.randn(
        UNITS, UNITS, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    made = GroupMap("dense", matrix, torch.linalg.inv(matrix))
    maps = {of_units(kind): (GroupMap.identity(UNITS, "dense"), made)}
    (hidden, head), own = targets_of(networks, x, "equal", (0.5, 0.5), maps=maps)
    torch.testing.assert_close(hidden, (own[0][0] + own[1][0] @ matrix.T) / 2)
    torch.testing.assert_close(head, (own[0][1] + own[1][1]) / 2)


@pytest.mark.parametrize("kind", [Two, Convolved])
@pytest.mark.parametrize("shares", [(0.3, 0.7), (1.0, 0.0)])
def test_picked_units_are_aimed_at_as_their_own_members_have_them(
    kind: type[nn.Module], shares: tuple[float, float]
) -> None:
    networks, x = [member(kind, k) for k in range(2)], inputs(kind)
    picks = UnitSelection(torch.tensor([0, 1, 1, 0, 0, 1]), torch.tensor([0, 4, 2, 3, 1, 5]))
    (hidden, head), own = targets_of(networks, x, "pruning", shares, picks={of_units(kind): picks})
    columns = [
        own[m][0][:, u] for m, u in zip(picks.member.tolist(), picks.unit.tolist(), strict=True)
    ]
    torch.testing.assert_close(hidden, torch.stack(columns, 1))
    torch.testing.assert_close(head, shares[0] * own[0][1] + shares[1] * own[1][1])


SHAPES |= {Dense: (100, 2, 7), Behind: (200, 4), Raw: (200, 4)}


def test_correlations_are_those_of_numpy_and_signed() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(80, 4, generator=generator)
    b = torch.stack(
        [
            a[:, 0],
            -3 * a[:, 1] + 5,
            a[:, 2] + torch.randn(80, generator=generator),
            torch.full((80,), 2.0),
        ],
        1,
    )
    expected = [
        float(torch.corrcoef(torch.stack([a[:, k], b[:, k]]).double())[0, 1]) for k in range(3)
    ]
    torch.testing.assert_close(
        correlations(a, b), torch.tensor([*expected, 0.0], dtype=torch.float64)
    )


def importance_of(network: nn.Module, rows: Tensor) -> Tensor:
    """Deviations behind the activation times norms of outgoing weights, as shares of their sum."""
    value = torch.tanh(rows).std(0) * network.head.weight.detach().norm(dim=0)
    return value / value.sum()


@pytest.mark.parametrize("kind", [Two, Convolved])
@pytest.mark.parametrize("threshold", [-2.0, 0.0, 0.2, 2.0])
@pytest.mark.parametrize("reference", [0, 2])
def test_units_without_a_counterpart_are_those_of_the_member_that_needs_them_most(
    kind: type[nn.Module], threshold: float, reference: int
) -> None:
    networks, x, shares = [member(kind, k) for k in range(3)], inputs(kind), (0.2, 0.3, 0.5)
    (hidden, head), own = targets_of(
        networks, x, "selection", shares, threshold=threshold, reference=reference
    )
    others = [k for k in range(3) if k != reference]
    ours = torch.tanh(own[reference][0])
    least = torch.stack([correlations(ours, torch.tanh(own[k][0])) for k in others]).amin(0)
    needs = torch.stack([importance_of(n, rows[0]) for n, rows in zip(networks, own, strict=True)])
    winner = needs.argmax(0)
    picked = torch.stack([own[int(k)][0][:, unit] for unit, k in enumerate(winner)], 1)
    mean = sum(share * rows[0] for share, rows in zip(shares, own, strict=True))
    torch.testing.assert_close(hidden, torch.where(least < threshold, picked, mean))
    torch.testing.assert_close(
        head, sum(share * rows[1] for share, rows in zip(shares, own, strict=True))
    )
    assert len(winner.unique()) > 1  # else the reference would do for all
