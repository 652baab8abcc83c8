"""The matchers' linear algebra against its definition in plain numpy, on moments of members of
different scales.
"""

from __future__ import annotations

import math
import types

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from onefold.alignment.matchers import matchers, transport
from onefold.alignment.matchers.balanced import match_balanced
from onefold.alignment.matchers.cca import CCA
from onefold.alignment.matchers.dense import matched_correlations, roots, shrunk
from onefold.alignment.matchers.permutation import best_permutation
from onefold.alignment.matchers.procrustes import Procrustes
from onefold.alignment.matchers.transport import Transport, plan
from onefold.alignment.moments import Moments
from onefold.errors import AlignmentError

WIDTH, ROWS = 5, 200
Vector = NDArray[np.float64]


def features(scale: float = 30.0, seed: int = 0, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    """Two members' features: the second a noisy mixture of the first, permuted, `scale` times as
    large.
    """
    generator = torch.Generator().manual_seed(seed)
    first = (
        torch.randn(ROWS, WIDTH, generator=generator, dtype=torch.float64)
        @ torch.randn(WIDTH, WIDTH, generator=generator).double()
    )
    second = (
        first[:, torch.randperm(WIDTH, generator=generator)]
        + noise * torch.randn(ROWS, WIDTH, generator=generator).double()
    )
    return first, scale * second + 4.0


def moments_of(*members: Tensor, reference: int | None = 0) -> Moments:
    found = Moments(len(members), members[0].shape[1], reference)
    found.update(members)
    return found


def covariance(a: Tensor, b: Tensor) -> NDArray[np.float64]:
    x, y = (m.numpy() - m.numpy().mean(0) for m in (a, b))
    return x.T @ y / len(x)


def root(matrix: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values**power) @ vectors.T


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
@pytest.mark.parametrize(("gamma", "prior"), [(0.0, 0.0), (10.0, 0.0), (0.5, 0.1), (0.0, 2.0)])
def test_ridge_and_prior_are_relative_to_each_members_own_variance(
    scale: float, gamma: float, prior: float
) -> None:
    a, b = features(scale)
    found = shrunk(moments_of(a, b), 1, gamma, prior)
    own, other, cross = covariance(a, a), covariance(b, b), covariance(a, b)
    t_r, t_k = np.trace(own) / WIDTH, np.trace(other) / WIDTH
    matched = np.eye(WIDTH)[best_permutation(moments_of(a, b), 1).numpy()]
    np.testing.assert_allclose(
        found.reference, own + (gamma + prior) * t_r * np.eye(WIDTH), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(
        found.member, other + (gamma + prior) * t_k * np.eye(WIDTH), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(
        found.cross, cross + prior * math.sqrt(t_r * t_k) * matched, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize(
    "matcher", [CCA(), CCA(0.5, 0.0), CCA(2.0, 1.0), Procrustes(), Procrustes(0.0)], ids=str
)
@pytest.mark.parametrize("scale", [1e-3, 50.0])
def test_a_member_of_other_scale_is_mapped_as_it_would_be_at_that_of_the_reference(
    matcher: CCA | Procrustes, scale: float
) -> None:
    a, b = features(1.0)
    plain, scaled = matcher.match(moments_of(a, b), 1), matcher.match(moments_of(a, scale * b), 1)
    assert plain.map.inverse is not None
    assert scaled.map.inverse is not None
    factor = scale if isinstance(matcher, CCA) else 1.0
    torch.testing.assert_close(scaled.map.forward * factor, plain.map.forward)
    torch.testing.assert_close(scaled.map.inverse / factor, plain.map.inverse)
    torch.testing.assert_close(scaled.scores, plain.scores)


@pytest.mark.parametrize(("gamma", "prior"), [(10.0, 0.1), (0.5, 0.0), (0.2, 1.0)])
def test_cca_is_its_definition(gamma: float, prior: float) -> None:
    a, b = features()
    found = CCA(gamma, prior).match(moments_of(a, b), 1)
    s = shrunk(moments_of(a, b), 1, gamma, prior)
    own, other, cross = s.reference.numpy(), s.member.numpy(), s.cross.numpy()
    u, _, vh = np.linalg.svd(root(own, -0.5) @ cross @ root(other, -0.5))
    forward = root(own, 0.5) @ u @ vh @ root(other, -0.5)
    np.testing.assert_allclose(found.map.forward, forward, rtol=1e-6, atol=1e-9)
    assert found.map.inverse is not None
    np.testing.assert_allclose(found.map.inverse, np.linalg.inv(forward), rtol=1e-6, atol=1e-9)
    assert found.condition == pytest.approx(np.linalg.cond(forward), rel=1e-6)
    left, right = a.numpy() @ root(own, -0.5) @ u, b.numpy() @ root(other, -0.5) @ vh.T
    correlations = [np.corrcoef(left[:, i], right[:, i])[0, 1] for i in range(WIDTH)]
    np.testing.assert_allclose(found.scores, sorted(correlations, reverse=True), rtol=1e-6)


@pytest.mark.parametrize("prior", [0.0, 0.1, 3.0])
def test_procrustes_is_its_definition(prior: float) -> None:
    a, b = features()
    found = Procrustes(prior).match(moments_of(a, b), 1)
    u, _, vh = np.linalg.svd(shrunk(moments_of(a, b), 1, 0.0, prior).cross.numpy())
    np.testing.assert_allclose(found.map.forward, u @ vh, atol=1e-9)
    assert found.map.inverse is not None
    np.testing.assert_allclose(found.map.inverse, (u @ vh).T, atol=1e-9)
    correlations = [np.corrcoef(a.numpy() @ u[:, i], b.numpy() @ vh[i])[0, 1] for i in range(WIDTH)]
    np.testing.assert_allclose(found.scores, sorted(correlations, reverse=True), rtol=1e-6)


def test_no_rotation_that_keeps_the_mean_is_nearer() -> None:
    a, b = features(1.0)
    found = Procrustes(0.0, fixes_mean=True).match(moments_of(a, b), 1)
    turned = found.map.forward.numpy()
    np.testing.assert_allclose(turned @ turned.T, np.eye(WIDTH), atol=1e-9)
    np.testing.assert_allclose(turned.sum(1), 1.0, atol=1e-9)
    cross = covariance(a, b)
    basis = np.linalg.svd(np.ones((1, WIDTH)))[2][1:].T
    best = (
        np.linalg.svd(basis.T @ cross @ basis)[1].sum()
        + float(np.ones(WIDTH) @ cross @ np.ones(WIDTH)) / WIDTH
    )
    assert float((turned * cross).sum()) == pytest.approx(best)
    assert len(found.scores) == WIDTH


def test_defaults_are_those_that_were_chosen_on_held_out_images() -> None:
    assert (CCA().regularization, CCA().prior, Procrustes().prior, Procrustes().fixes_mean) == (
        10.0,
        0.1,
        0.1,
        False,
    )


def test_what_matchers_say_of_themselves() -> None:
    said = {
        entry.name: (
            kind.dense,
            kind.exact,
            kind.rotates,
            kind.covariances,
            kind.widths,
            kind.probe,
        )
        for entry in matchers
        for kind in [matchers.get(entry.name)]
    }
    exact, dense, joint = (
        (False, False, True, False, False, "post"),
        (True, False, True, True, False, "post"),
        (True, False, False, True, False, "post"),
    )
    assert said["permutation"] == said["identity"] == said["weights"] == exact
    assert said["cca"] == said["procrustes"] == dense
    assert said["rotation"] == (True, True, *dense[2:])
    assert said["zipit"] == joint
    assert said["transport"] == (*joint[:4], True, "post")


@pytest.mark.parametrize("name", ["regularization", "prior"])
@pytest.mark.parametrize("value", [-1e-9, -1.0, math.inf, math.nan])
def test_settings_that_are_negative_or_not_finite_are_refused(name: str, value: float) -> None:
    with pytest.raises(AlignmentError, match=f"The {name} is"):
        CCA(**{name: value}).match(moments_of(*features()), 1)
    assert CCA(0.0, 0.0).match(moments_of(*features()), 1).scores.isfinite().all()


@pytest.mark.parametrize("constant", [0, 1])
def test_members_that_never_vary_are_refused(constant: int) -> None:
    pair = list(features())
    pair[constant] = torch.ones(ROWS, WIDTH, dtype=torch.float64)
    with pytest.raises(AlignmentError, match="never vary"):
        shrunk(moments_of(*pair), 1, 1.0, 0.0)


def test_roots_are_roots_and_directions_without_variance_are_raised_to_the_floor() -> None:
    matrix = torch.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
    half, inverse = roots(matrix)
    torch.testing.assert_close(half @ half, matrix)
    torch.testing.assert_close(half @ inverse, torch.eye(2).double())
    half, inverse = roots(torch.diag(torch.tensor([4.0, 0.0, 1e-13])).double())
    floor = 4e-10
    torch.testing.assert_close(
        half.diagonal(), torch.tensor([2.0, floor**0.5, floor**0.5]).double()
    )
    torch.testing.assert_close(
        inverse.diagonal(), torch.tensor([0.5, floor**-0.5, floor**-0.5]).double()
    )


def test_correlations_of_combinations_that_hardly_vary_are_zero() -> None:
    a, b = features(2.0)
    left = torch.eye(WIDTH).double()
    left[:, 0] *= 1e-9
    found = matched_correlations(moments_of(a, b), 1, left, torch.eye(WIDTH).double())
    plain = torch.tensor([np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(1, WIDTH)])
    torch.testing.assert_close(
        found, torch.cat([plain, torch.zeros(1).double()]).sort(descending=True).values
    )
    for seed in range(20):  # rounding does not lead beyond 1
        own = features(1.0, seed)[0]
        assert (
            matched_correlations(
                moments_of(own, 3 * own), 1, torch.eye(WIDTH).double(), torch.eye(WIDTH).double()
            ).max()
            <= 1
        )
    same = matched_correlations(
        moments_of(a, -a), 1, torch.eye(WIDTH).double(), torch.eye(WIDTH).double()
    )
    torch.testing.assert_close(same, -torch.ones(WIDTH).double())


# ---- queries and keys


@pytest.mark.parametrize("ridge", [0.1, 0.5])
def test_balanced_maps_are_their_definition(ridge: float) -> None:
    queries, keys = features(20.0, 1), features(0.3, 2)
    primal, dual = moments_of(*queries), moments_of(*keys)
    found = match_balanced(primal, dual, 1, ridge)

    def balance(q: NDArray[np.float64], k: NDArray[np.float64]) -> NDArray[np.float64]:
        eye = np.eye(WIDTH)
        q, k = q + ridge * np.trace(q) / WIDTH * eye, k + ridge * np.trace(k) / WIDTH * eye
        lower = np.linalg.cholesky(q)
        squares, vectors = np.linalg.eigh(lower.T @ k @ lower)
        b: NDArray[np.float64] = np.diag(squares**0.25) @ vectors.T @ np.linalg.inv(lower)
        np.testing.assert_allclose(b @ q @ b.T, np.diag(np.sqrt(squares)), atol=1e-8)
        np.testing.assert_allclose(
            np.linalg.inv(b).T @ k @ np.linalg.inv(b), np.diag(np.sqrt(squares)), atol=1e-8
        )
        return b

    ours = balance(covariance(queries[0], queries[0]), covariance(keys[0], keys[0]))
    theirs = balance(covariance(queries[1], queries[1]), covariance(keys[1], keys[1]))
    back, away = np.linalg.inv(ours), np.linalg.inv(theirs)
    cross = ours @ covariance(*queries) @ theirs.T + back.T @ covariance(*keys) @ away
    u, _, vh = np.linalg.svd(cross)
    forward = back @ u @ vh @ theirs
    np.testing.assert_allclose(found.map.forward, forward, rtol=1e-6, atol=1e-8)
    assert found.map.inverse is not None
    np.testing.assert_allclose(found.map.inverse, np.linalg.inv(forward), rtol=1e-6, atol=1e-8)
    assert found.condition == pytest.approx(np.linalg.cond(forward), rel=1e-6)

    def scores(
        pair: tuple[Tensor, Tensor], left: NDArray[np.float64], right: NDArray[np.float64]
    ) -> list[float]:
        x, y = pair[0].numpy() @ left, pair[1].numpy() @ right
        return sorted(
            (float(np.corrcoef(x[:, i], y[:, i])[0, 1]) for i in range(WIDTH)), reverse=True
        )

    of_queries = scores(queries, ours.T @ u, theirs.T @ vh.T)
    of_keys = scores(keys, back @ u, away @ vh.T)
    np.testing.assert_allclose(
        found.scores, (np.array(of_queries) + np.array(of_keys)) / 2, rtol=1e-6
    )


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_balanced_maps_follow_the_scales_of_queries_and_keys(scale: float) -> None:
    queries, keys = features(1.0, 1), features(1.0, 2)
    plain = match_balanced(moments_of(*queries), moments_of(*keys), 1)
    scaled = match_balanced(
        moments_of(scale * queries[0], queries[1]), moments_of(keys[0] / scale, keys[1]), 1
    )
    torch.testing.assert_close(scaled.map.forward, scale * plain.map.forward)
    torch.testing.assert_close(scaled.scores, plain.scores)


def test_balanced_maps_have_a_ridge_of_a_tenth_and_refuse_what_never_varies() -> None:
    queries, keys = features(2.0, 1), features(3.0, 2)
    primal, dual = moments_of(*queries), moments_of(*keys)
    assert torch.equal(
        match_balanced(primal, dual, 1).map.forward,
        match_balanced(primal, dual, 1, 0.1).map.forward,
    )
    still = torch.ones(ROWS, WIDTH, dtype=torch.float64)
    for one, other in ((moments_of(still, queries[1]), dual), (primal, moments_of(still, keys[1]))):
        with pytest.raises(AlignmentError, match="never vary"):
            match_balanced(one, other, 1)
    flat = queries[0].clone()
    flat[:, 1] = flat[:, 0]  # a direction without variance
    found = match_balanced(moments_of(flat, queries[1]), dual, 1, 0.0)
    assert found.map.forward.isfinite().all()


# ---- transport


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
    monkeypatch.setattr(transport, "_pot", lambda: made)
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
        monkeypatch.setattr(transport, "_pot", lambda fake=fake: fake)
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
    assert (Transport().entropy, Transport().standardised) == (0.0, True)


def test_distances_that_are_not_standardised_are_squares_of_differences() -> None:
    a, b = features(3.0)
    centred = a - a.mean(0), b - b.mean(0)
    expected = (centred[0][:, :, None] - centred[1][:, None, :]).square().mean(0)
    torch.testing.assert_close(Transport(standardised=False).costs(moments_of(a, b), 1), expected)
    torch.testing.assert_close(
        Transport().costs(moments_of(a, b), 1), 2 - 2 * moments_of(a, b).correlation(1)
    )


@pytest.mark.parametrize("entropy", [-1e-9, -1.0, math.inf, math.nan])
def test_entropies_that_are_negative_or_not_finite_are_refused(entropy: float) -> None:
    with pytest.raises(AlignmentError, match="entropy of transport"):
        Transport(entropy=entropy)
