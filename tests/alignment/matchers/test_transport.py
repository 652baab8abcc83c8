"""Optimal transport of features: exact plans are the assignment, soft ones have their marginals."""

from __future__ import annotations

import copy
import math
import sys
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from matcher_features import WIDTH, features, moments_of
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from small_networks import Plain, Residual, loader, random_pair, trained
from torch import Tensor, nn

import onefold
from onefold.alignment import Moments, align
from onefold.alignment.matchers import feature_matchers
from onefold.alignment.matchers.permutation import Permutation
from onefold.alignment.matchers.transport import Transport, plan
from onefold.errors import AlignmentError
from onefold.fold import merge


class Attention(nn.Module):
    """A block of attention whose heads are matched with heads."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.head = nn.Linear(5, 8), nn.Linear(8, 3)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head((x + self.down(F.gelu(self.up(x)))).mean(1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Plain, Residual, Attention])
def test_transport_of_equal_widths_is_the_permutation(kind: type[nn.Module]) -> None:
    networks, data = random_pair(kind)
    networks, data = [model.double() for model in networks], [x.double() for x in data]
    found = [align(networks, data, method=name) for name in ("permutation", "transport")]
    for name, pair in found[0].maps.items():
        assert [m.kind for m in found[1].maps[name]] == ["permutation"] * 2
        assert torch.equal(found[1].maps[name][1].forward, pair[1].forward)
    assert "of equal widths without entropy the same as permutation" in next(
        e.summary for e in feature_matchers if e.name == "transport"
    )


def test_with_entropy_or_plain_distances_transport_is_another_map() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(40, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    moments = Moments(2, 6)
    moments.update([a, b * torch.tensor([1, 1, 1, 8, 9, 10]) + 0.5 * a])
    transport = feature_matchers.get("transport")
    plain = feature_matchers.get("permutation")().match(moments, 1).map
    assert torch.equal(transport().match(moments, 1).map.forward, plain.forward)
    assert not torch.equal(
        transport(standardized=False).match(moments, 1).map.forward, plain.forward
    )  # type: ignore[call-arg]
    assert transport(entropy=0.05).match(moments, 1).map.kind == "dense"  # type: ignore[call-arg]


Vector = NDArray[np.float64]


def test_plans_of_equal_widths_are_the_cheapest_assignment() -> None:
    costs = torch.tensor([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]])
    found = plan(costs)
    assert found.dtype == torch.float64
    assert (3 * found).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert torch.equal(found, plan(costs, 0.0))


class Solver:
    """What the package POT is asked for, and plans in its place: soft ones by plain scaling of rows
    and columns.
    """

    def __init__(self) -> None:
        self.limits: list[int] = []

    def emd(self, a: Vector, b: Vector, costs: Vector, numItermax: int) -> Vector:
        self.limits.append(numItermax)
        return np.outer(a, b) + 0 * costs

    def sinkhorn(
        self,
        a: Vector,
        b: Vector,
        costs: Vector,
        entropy: float,
        method: str,
        numItermax: int,
        warn: bool,
    ) -> Vector:
        self.limits.append(numItermax)
        assert (method, warn) == ("sinkhorn_log", False)
        found: Vector = np.exp(-costs / entropy)
        for _ in range(2000):
            found = found * (b / found.sum(0))
            found = found * (a / found.sum(1))[:, None]
        return found


@pytest.fixture
def solver(monkeypatch: pytest.MonkeyPatch) -> Solver:
    made = Solver()
    monkeypatch.setitem(sys.modules, "ot", made)
    return made


def test_plans_of_unequal_widths_have_even_margins(solver: Solver) -> None:
    costs = torch.tensor([[0.0, 5.0, 5.0], [5.0, 0.0, 1.0]])
    for found in (plan(costs), plan(costs, 0.5)):
        assert found.dtype == torch.float64
        torch.testing.assert_close(
            found.sum(0), torch.full((3,), 1 / 3).double(), atol=1e-6, rtol=0
        )
        torch.testing.assert_close(
            found.sum(1), torch.full((2,), 1 / 2).double(), atol=1e-6, rtol=0
        )
    assert solver.limits == [10_000_000, 10_000]


def test_entropy_is_relative_to_the_mean_distance(solver: Solver) -> None:
    """The plan is diag(u) exp(-D / (e mean D)) diag(v): its cross ratios tell e."""
    costs = torch.tensor([[1.0, 2.0], [4.0, 3.0]]).double()
    for scale in (0.01, 100.0):
        for entropy in (0.3, 1.0):
            found = plan(scale * costs, entropy)
            ratio = float((found[0, 0] * found[1, 1] / (found[0, 1] * found[1, 0])).log())
            assert ratio == pytest.approx((2 + 4 - 1 - 3) / 2.5 / entropy, rel=1e-3)
    assert torch.allclose(
        plan(torch.zeros(2, 2), 0.5), torch.full((2, 2), 0.25).double()
    )  # distances of nothing


def test_plans_are_refused_where_their_margins_are_off_by_a_thousandth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Off: the greatest difference of a row's sum, as a share of what the row shall have."""
    for off, refused in ((0.0009, False), (0.0011, True), (float("nan"), True)):
        given = (
            np.array([[0.25 * (1 + 2 * off), 0.25], [0.25, 0.25], [0.25 - 0.5 * off, 0.25]]) * 2 / 3
        )
        fake = types.SimpleNamespace(sinkhorn=lambda *_, given=given, **__: given)
        monkeypatch.setitem(sys.modules, "ot", fake)
        if refused:
            with pytest.raises(AlignmentError, match="did not converge"):
                plan(torch.ones(3, 2), 0.5)
        else:
            assert torch.equal(plan(torch.ones(3, 2), 0.5), torch.as_tensor(given))


def test_soft_maps_take_means_and_hand_them_back(solver: Solver) -> None:
    a, b = features(3.0)
    moments = moments_of(a, b)
    found = Transport(entropy=0.1).match(moments, 1)
    moved = plan(2 - 2 * moments.correlation(1), 0.1)
    torch.testing.assert_close(found.map.forward, WIDTH * moved)
    assert found.map.inverse is not None
    torch.testing.assert_close(found.map.inverse, WIDTH * moved.T)
    torch.testing.assert_close(found.scores, (WIDTH * moved * moments.correlation(1)).sum(1))
    assert found.condition == pytest.approx(np.linalg.cond(WIDTH * moved.numpy()), rel=1e-6)


def test_exact_maps_are_permutations_with_their_correlations() -> None:
    a, b = features(3.0)
    moments = moments_of(a, b)
    found = Transport().match(moments, 1)
    assert found.map.kind == "permutation"
    assert found.scores.shape == (WIDTH,)
    torch.testing.assert_close(
        found.scores, moments.correlation(1)[range(WIDTH), found.map.forward]
    )
    assert (Transport().entropy, Transport().standardized) == (0.0, True)


def test_distances_that_are_not_standardised_are_squares_of_differences() -> None:
    a, b = features(3.0)
    centred = a - a.mean(0), b - b.mean(0)
    expected = (centred[0][:, :, None] - centred[1][:, None, :]).square().mean(0)
    torch.testing.assert_close(Transport(standardized=False).costs(moments_of(a, b), 1), expected)
    torch.testing.assert_close(
        Transport().costs(moments_of(a, b), 1), 2 - 2 * moments_of(a, b).correlation(1)
    )


@pytest.mark.parametrize("entropy", [-1e-9, -1.0, math.inf, math.nan])
def test_entropies_that_are_negative_or_not_finite_are_refused(entropy: float) -> None:
    with pytest.raises(AlignmentError, match="entropy of transport"):
        Transport(entropy=entropy)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), width=st.integers(1, 9))
def test_exact_transport_of_equal_numbers_is_the_assignment(seed: int, width: int) -> None:
    costs = torch.rand(
        width, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    rows, columns = linear_sum_assignment(costs.numpy())
    assert float((plan(costs) * costs).sum()) == pytest.approx(costs.numpy()[rows, columns].mean())
    moments = Moments(2, width)
    moments.update(
        [
            torch.randn(
                50, width, generator=torch.Generator().manual_seed(seed + k), dtype=torch.float64
            )
            for k in range(2)
        ]
    )
    assert torch.equal(
        Transport().match(moments, 1).map.forward, Permutation().match(moments, 1).map.forward
    )


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 8),
    columns=st.integers(1, 8),
    entropy=st.sampled_from([0.0, 0.05, 1.0]),
)
def test_plans_have_uniform_marginals_and_cost_no_more_than_any_other(
    seed: int, rows: int, columns: int, entropy: float
) -> None:
    costs = torch.rand(
        rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    found = plan(costs, entropy)
    assert bool((found >= 0).all())
    torch.testing.assert_close(
        found.sum(1), torch.full((rows,), 1 / rows, dtype=torch.float64), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(
        found.sum(0), torch.full((columns,), 1 / columns, dtype=torch.float64), atol=1e-4, rtol=0
    )
    if entropy == 0:
        assert (
            float((found * costs).sum()) <= float(costs.mean()) + 1e-9
        )  # of the plan that spreads everything evenly
        assert int((found > 1e-12).sum()) <= rows + columns - 1  # a vertex


def test_much_entropy_spreads_and_little_is_exact() -> None:
    costs = torch.rand(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        plan(costs, 100.0), torch.full((5, 5), 0.04, dtype=torch.float64), atol=1e-3, rtol=0
    )
    worth = [float((plan(costs, entropy) * costs).sum()) for entropy in (0.0, 0.02, 0.2, 100.0)]
    assert worth == sorted(worth)
    assert worth[1] < 1.05 * worth[0] < worth[2]


def test_distances_are_those_of_the_activations() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (
        torch.randn(300, 4, dtype=torch.float64, generator=generator)
        * torch.tensor([1.0, 2.0, 3.0, 4.0])
        for _ in range(2)
    )
    moments = Moments(2, 4)
    moments.update([x, y])

    def distances(a: Tensor, b: Tensor) -> Tensor:
        return (a[:, :, None] - b[:, None]).square().mean(0)

    centred = [z - z.mean(0) for z in (x, y)]
    torch.testing.assert_close(Transport(standardized=False).costs(moments, 1), distances(*centred))
    torch.testing.assert_close(
        Transport().costs(moments, 1), distances(*(z / z.std(0, unbiased=False) for z in centred))
    )


@pytest.mark.slow
def test_entropic_maps_fold_networks_that_are_alike() -> None:
    network = trained(Plain, 0)
    twin = copy.deepcopy(network)
    result = merge(
        [network, twin], loader(), align=Transport(entropy=0.02), repair="none", fold="average"
    )
    assert {m[1].kind for m in result.alignment.maps.values()} == {"dense"}
    assert onefold.evaluate(result.model, loader()).accuracy > 0.9
