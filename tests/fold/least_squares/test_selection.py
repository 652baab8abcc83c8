"""Units of several members that are selected: by importance, similarity and what reads them."""

from __future__ import annotations

import copy

import pytest
import torch
from corner_networks import off
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
    targets_of,
    turned,
)
from torch import Tensor, nn

import onefold
from onefold.fold import LeastSquares


class Pooled(nn.Module):
    """Positions weighed by a learned vector, as attention pooling does."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.query, self.head = (
            nn.Linear(5, 6),
            nn.Parameter(torch.randn(6)),
            nn.Linear(6, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu()
        return self.head(((h @ self.query).softmax(1)[..., None] * h).sum(1))


class Scored(nn.Module):
    """One number for an example, by a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.vector = nn.Linear(5, 8), nn.Linear(8, 6), nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        return (self.b(self.a(x).relu()).tanh() @ self.vector)[..., None]


class Dotted(nn.Module):
    """The same written as an einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.vector = nn.Linear(5, 8), nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("btc,c->bt", self.a(x).sigmoid(), self.vector)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Pooled, Scored, Dotted])
def test_selection_weighs_units_that_a_vector_reads(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model, other = kind().eval(), kind().eval()
    data = [torch.randn(64, 4, 5) for _ in range(3)]
    same = onefold.merge(
        [model, copy.deepcopy(model)],
        data,
        align="none",
        fold=LeastSquares("selection"),
        repair="none",
    )
    assert off(model, same.model, data[0]) < 1e-4
    onefold.merge([model, other], data, align="permutation", fold=LeastSquares("selection"))


def loud(network: nn.Module, units: list[int], factor: float = 5.0) -> nn.Module:
    """A copy in which these units weigh more in the layer behind."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.head.weight[:, units] *= factor
    return other


@pytest.mark.parametrize("kind", [Two, Convolved])
def test_selection_keeps_the_unit_of_more_importance(kind: type[nn.Module]) -> None:
    network, x = member(kind), inputs(kind)
    other = loud(turned(network, list(range(UNITS)), 0.8), [1, 4])
    (hidden, _), own = targets_of([network, other], x, "selection", (0.5, 0.5), threshold=2.0)
    torch.testing.assert_close(hidden[:, [1, 4]], own[1][0][:, [1, 4]])
    torch.testing.assert_close(hidden[:, [0, 2, 3, 5]], own[0][0][:, [0, 2, 3, 5]])
    (mirrored, _), _ = targets_of([other, network], x, "selection", (0.5, 0.5), threshold=2.0)
    torch.testing.assert_close(mirrored, hidden)  # whoever comes first


def test_of_three_members_the_most_important_unit_is_kept() -> None:
    network, x = member(Two), inputs(Two)
    networks = [
        loud(network, [0], 8.0),
        loud(turned(network, [0, 1, 2, 3, 4, 5], 0.9), [1, 2], 8.0),
        loud(turned(network, [2], 1.1), [2, 3], 3.0),
    ]
    (hidden, _), own = targets_of(networks, x, "selection", (0.4, 0.3, 0.3), threshold=2.0)
    for unit, best in {0: 0, 1: 1, 2: 1, 3: 2}.items():
        torch.testing.assert_close(hidden[:, unit], own[best][0][:, unit])


def test_deviation_counts_in_the_importance_as_the_outgoing_weights_do() -> None:
    network, x = member(Two), inputs(Two)
    still = turned(network, [2], 1e-3)  # hardly varies behind the activation
    for networks, kept in (
        ([network, loud(still, [2], 4.0)], 0),
        ([loud(still, [2], 4.0), network], 1),
    ):
        (hidden, _), own = targets_of(networks, x, "selection", (0.5, 0.5), threshold=2.0)
        torch.testing.assert_close(hidden[:, 2], own[kept][0][:, 2])


def test_selection_averages_the_units_that_correlate_beyond_the_threshold() -> None:
    network, x = member(Two), inputs(Two)
    other = loud(
        turned(turned(network, [0, 1, 2], 0.7), [5]), [5]
    )  # unit 5 goes the other way, and matters
    (hidden, _), own = targets_of([network, other], x, "selection", (0.75, 0.25), threshold=0.9)
    mean = 0.75 * own[0][0] + 0.25 * own[1][0]
    torch.testing.assert_close(hidden[:, :5], mean[:, :5])
    torch.testing.assert_close(hidden[:, 5], own[1][0][:, 5])


def test_a_member_without_a_share_changes_nothing() -> None:
    network, x = member(Two), inputs(Two)
    goals, own = targets_of(
        [network, member(Two, 1), turned(network, [1])], x, "equal", (0.5, 0.0, 0.5)
    )
    for goal, first, third in zip(goals, own[0], own[2], strict=True):
        torch.testing.assert_close(goal, (first + third) / 2)


SHAPES |= {Dense: (100, 2, 7), Behind: (200, 4), Raw: (200, 4)}
