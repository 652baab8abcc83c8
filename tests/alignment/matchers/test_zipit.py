"""ZipIt: the greedy merging against a plain version of its rules, what it promises for copies, its
speed, and bad settings.
"""

from __future__ import annotations

import copy
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import Plain, Residual, group_normed, loader, members, trained
from torch import nn

from onefold.alignment import Moments, align, build_problem, solve_problem
from onefold.alignment.matchers.zipit import ZipIt, zip_features
from onefold.errors import AlignmentError, DataError
from onefold.fold import merge
from onefold.symmetry import GroupMap, apply_maps, find_symmetries


def plainly(
    correlations: np.ndarray, members: int, penalty: float, within: float
) -> set[frozenset[int]]:
    """The same rules, looking at every pair of clusters again in every step."""
    count = len(correlations)
    width = count // members
    clusters = [frozenset({k}) for k in range(count)]
    budget = [int(within * width + 1e-9)] * members

    def owners(cluster: frozenset[int]) -> set[int]:
        return {k // width for k in cluster}

    def value(a: frozenset[int], b: frozenset[int], free: bool) -> float:
        if not free and any(budget[k] <= 0 for k in owners(a) & owners(b)):
            return -np.inf
        least = min(correlations[i, j] for i in a for j in b)
        return least * penalty ** max(0, len(a) + len(b) - members) if least > 0 else least

    free = False
    while len(clusters) > width:
        pairs = [(a, b) for i, a in enumerate(clusters) for b in clusters[i + 1 :]]
        best = max(pairs, key=lambda pair: value(*pair, free))
        if value(*best, free) == -np.inf:
            free = True
            continue
        for k in owners(best[0]) & owners(best[1]):
            budget[k] -= 1
        clusters = [c for c in clusters if c not in best] + [best[0] | best[1]]
    return set(clusters)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 4),
    width=st.integers(1, 6),
    penalty=st.sampled_from([0.1, 0.3, 1.0]),
    within=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
)
def test_the_fast_merging_is_the_plain_one(
    seed: int, count: int, width: int, penalty: float, within: float
) -> None:
    generator = np.random.default_rng(seed)
    matrix = np.corrcoef(
        generator.normal(size=(count * width + 3, count * width)), rowvar=False
    ).reshape(count * width, count * width)
    cluster = zip_features(matrix.copy(), count, penalty, within)
    assert {frozenset(np.flatnonzero(cluster == c).tolist()) for c in range(width)} == plainly(
        matrix, count, penalty, within
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 5), width=st.integers(2, 8))
def test_permuted_copies_of_features_are_found(seed: int, count: int, width: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(200, width, dtype=torch.float64, generator=generator)
    orders = [torch.randperm(width, generator=generator) for _ in range(count)]
    moments = Moments(count, width, 0, every=True)
    moments.update([x[:, order] for order in orders])
    found = ZipIt().match_all(moments)
    for k, order in enumerate(orders):
        features = x[:, order] @ found[k].map.forward.T
        torch.testing.assert_close(features, x[:, orders[0]] @ found[0].map.forward.T)
        assert set(found[k].map.forward.unique().tolist()) == {0.0, 1.0}
        torch.testing.assert_close(found[k].map.inverse, found[k].map.forward.T)
        assert float(found[k].scores.min()) > 1 - 1e-9


def copies(kind: type[nn.Module], count: int) -> list[nn.Module]:
    """One network, and the same with its units in other orders."""
    network = trained(kind, 0).double()
    spec = find_symmetries(network, loader()[0][0].double())
    generator = torch.Generator().manual_seed(1)
    made = [network]
    for _ in range(count - 1):
        twin = copy.deepcopy(network)
        maps = {
            g.name: GroupMap("permutation", torch.randperm(g.size, generator=generator))
            for g in spec.groups
        }
        twin.load_state_dict(apply_maps(network.state_dict(), spec, maps))
        made.append(twin)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Plain, Residual])
@pytest.mark.parametrize("count", [2, 3])
def test_zipped_copies_of_one_network_compute_what_it_does(
    kind: type[nn.Module], count: int
) -> None:
    networks = copies(kind, count)
    data = [(x.double(), y) for x, y in loader()]
    result = merge(networks, data, align="zipit", repair="none", fold="average")
    torch.testing.assert_close(result.model(data[0][0]), networks[0](data[0][0]), rtol=0, atol=1e-8)
    plain = merge(networks, data, align="none", repair="none", fold="average").model
    assert (plain(data[0][0]) - networks[0](data[0][0])).abs().max() > 0.1


def test_units_of_one_member_merge_where_they_agree_most() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 6, dtype=torch.float64, generator=generator)
    noise = 0.01 * torch.randn(500, 2, dtype=torch.float64, generator=generator)
    first = torch.stack(
        [x[:, 0], x[:, 0] + noise[:, 0], x[:, 1]], 1
    )  # two units of member 0 say the same
    second = torch.stack([x[:, 2], x[:, 3], x[:, 3] + noise[:, 1]], 1)
    moments = Moments(2, 3, 0, every=True)
    moments.update([first, second])
    greedy = ZipIt(within=1.0).match_all(moments)
    assert (
        sorted(greedy[0].map.forward.abs().sum(1).tolist())[-1] == 2.0
    )  # K times the mean of the two
    assert any(row.sum() == 0 for row in greedy[0].map.forward)  # a cluster that is all of member 1
    assert all(match.condition < 10 for match in greedy)
    apart = ZipIt(within=0.0).match_all(moments)
    for match in apart:
        assert torch.equal(match.map.forward.sum(0), torch.ones(3, dtype=torch.float64))
        assert torch.equal(match.map.forward.sum(1), torch.ones(3, dtype=torch.float64))


def test_two_thousand_features_take_seconds() -> None:
    generator = np.random.default_rng(0)
    base = generator.normal(size=(600, 256))
    features = np.concatenate(
        [
            base[:, generator.permutation(256)] + 1.5 * generator.normal(size=(600, 256))
            for _ in range(8)
        ],
        1,
    )
    matrix = np.corrcoef(features, rowvar=False)
    start = time.process_time()
    cluster = zip_features(matrix, 8, 0.3, 0.125)
    assert time.process_time() - start < 10.0
    assert len(np.unique(cluster)) == 256


@pytest.mark.slow
def test_the_common_network_does_not_depend_on_the_order_of_the_members() -> None:
    networks = [m.double() for m in members(Plain, 3)]
    data = [(x.double(), y) for x, y in loader()]
    one, other = (
        merge(own, data, align="zipit", fold="average").model
        for own in (networks, [networks[k] for k in (2, 0, 1)])
    )
    torch.testing.assert_close(one(data[0][0]), other(data[0][0]), rtol=0, atol=1e-9)


@pytest.mark.slow
def test_groups_without_matrices_are_permuted_and_other_moments_refused() -> None:
    networks = [group_normed(0), group_normed(1)]
    found = align(networks, loader(), method="zipit")
    assert sorted(found.matchers.values()) == ["permutation", "zipit"]
    assert "take no dense map" in str(found)
    with pytest.raises(DataError, match="collect with every=True"):
        solve_problem(build_problem([*networks, group_normed(2)], loader()), ZipIt())
    with pytest.raises(AlignmentError, match="maps all members at once"):
        ZipIt().match(Moments(2, 3), 1)


@pytest.mark.parametrize(
    "settings_of", [{"penalty": -0.1}, {"penalty": float("nan")}, {"within": 1.5}]
)
def test_unusable_settings(settings_of: dict[str, float]) -> None:
    with pytest.raises(AlignmentError, match="must lie between 0 and 1"):
        ZipIt(**settings_of)


def alike(members: int, width: int) -> np.ndarray:
    """Correlations by which features of one member would rather merge with each other than with
    another's.
    """
    matrix = np.full((members * width, members * width), 0.1)
    for k in range(members):
        own = slice(k * width, (k + 1) * width)
        matrix[own, own] = 0.9
    np.fill_diagonal(matrix, 1.0)
    return matrix


def merges_within(cluster: np.ndarray, members: int, width: int) -> list[int]:
    """Of each member, how many of its features went into a cluster that held one of it already."""
    return [width - len(set(cluster[k * width : (k + 1) * width].tolist())) for k in range(members)]


@pytest.mark.parametrize("members", [2, 3, 4])
@pytest.mark.parametrize("within", [0.0, 0.125, 0.25, 0.3, 0.5])
def test_so_many_merges_are_within_a_member(members: int, within: float) -> None:
    width = 16
    cluster = zip_features(alike(members, width), members, 1.0, within)
    assert merges_within(cluster, members, width) == [int(within * width)] * members
    assert sorted(set(cluster.tolist())) == list(range(width))


@pytest.mark.parametrize(("members", "beta"), [(2, 0.25), (2, 1.0), (3, 0.5), (4, 1.0)])
def test_the_papers_beta_is_a_share_of_all_merges(members: int, beta: float) -> None:
    """Each member has a part of beta (K - 1) C merges; as `within` it is beta (K - 1) / K."""
    width = 24
    found = merges_within(
        zip_features(alike(members, width), members, 1.0, beta * (members - 1) / members),
        members,
        width,
    )
    assert found == [int(beta * (members - 1) * width / members)] * members


def test_the_default_is_a_quarter_of_the_merges_of_two_members() -> None:
    assert (ZipIt().within, ZipIt().penalty) == (0.125, 0.3)
    assert merges_within(zip_features(alike(2, 16), 2, 1.0, ZipIt().within), 2, 16) == [2, 2]


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf")])
def test_what_the_settings_are_is_said_where_they_are_refused(value: float) -> None:
    with pytest.raises(
        AlignmentError,
        match=(
            r"ZipIt's within is .* a share of each member's features and must lie between 0 and 1"
        ),
    ):
        ZipIt(within=value)
    with pytest.raises(
        AlignmentError, match=r"ZipIt's penalty is .* a factor and must lie between 0 and 1"
    ):
        ZipIt(penalty=value)
    assert ZipIt(penalty=0.0, within=1.0).within == 1.0


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_maps_scores_and_conditions_of_zipped_members(count: int, scale: float) -> None:
    """Against the clusters: means of their features, handed back, scored by how they correlate;
    what never varies goes together.
    """
    width, rows = 6, 80
    generator = torch.Generator().manual_seed(count)
    base = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    given = [
        scale
        * (
            base[:, torch.randperm(width, generator=generator)]
            + 0.8 * torch.randn(rows, width, generator=generator)
        )
        for _ in range(count)
    ]
    for own in given:
        own[:, 2] = (
            1e-8 * scale * base[:, 0]
        )  # beside the others it does not vary, however well it would correlate
    moments = Moments(count, width, 0, every=True)
    moments.update(given)
    found = ZipIt(penalty=0.8, within=0.5).match_all(moments)
    joined = np.corrcoef(torch.cat(given, 1).numpy().T)
    silent = [k * width + 2 for k in range(count)]
    joined[silent] = joined[:, silent] = 0.0
    joined[np.ix_(silent, silent)] = 1.0
    units = torch.cat(
        [match.map.inverse for match in found if match.map.inverse is not None]
    )  # (K C, C): the cluster of each feature
    assert bool((units.sum(1) == 1).all())
    cluster = units.argmax(1).numpy()
    assert len({cluster[k] for k in silent}) == 1
    sizes = np.bincount(cluster, minlength=width)
    for k, match in enumerate(found):
        mine = cluster[k * width : (k + 1) * width]
        forward = np.zeros((width, width))
        forward[mine, np.arange(width)] = count / sizes[mine]
        np.testing.assert_allclose(match.map.forward, forward)
        inside = []
        for feature in range(k * width, (k + 1) * width):
            others = [j for j in np.flatnonzero(cluster == cluster[feature]) if j != feature]
            inside.append(joined[feature, others].mean() if others else 0.0)
        scores = [
            np.mean([inside[j] for j in np.flatnonzero(mine == c)]) if (mine == c).any() else 0.0
            for c in range(width)
        ]
        np.testing.assert_allclose(match.scores, scores, atol=1e-9)
        values = np.linalg.svd(forward)[1]
        assert match.condition == pytest.approx(values.max() / values[values > 1e-9].min())


def test_features_beyond_one_of_each_member_are_penalised() -> None:
    """A third feature is offered to a pair at 0.8, and two single features to each other at 0.5:
    the penalty decides.
    """
    matrix = np.full((6, 6), 0.05)
    for i, j, value in ((0, 3, 0.9), (0, 1, 0.8), (1, 3, 0.8), (2, 4, 0.5)):
        matrix[i, j] = matrix[j, i] = value
    np.fill_diagonal(matrix, 1.0)
    together = zip_features(matrix.copy(), 2, 1.0, 1.0)
    assert together[0] == together[1] == together[3]
    apart = zip_features(matrix.copy(), 2, 0.02, 1.0)
    assert apart[0] == apart[3] != apart[1]
    assert apart[2] == apart[4]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_ties_are_decided_by_agreement_whatever_the_order_of_the_members(
    order: tuple[int, ...],
) -> None:
    """Features that are equal or correlate by exactly 0, so that most merges are ties."""
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0]]).double()
    walsh = torch.kron(torch.kron(torch.kron(signs, signs), signs), signs)[:, 1:]
    shared = [[0, 1, 2, 3, 4], [0, 1, 2, 7, 8], [2, 3, 5, 6, 9]]
    found = []
    for own in ((0, 1, 2), order):
        moments = Moments(3, 5, 0, every=True)
        moments.update([walsh[:, shared[k]] for k in own])
        found.append(dict(zip(own, ZipIt().match_all(moments), strict=True)))
    for k in range(3):
        assert torch.equal(found[0][k].map.forward, found[1][k].map.forward)
        assert torch.equal(found[0][k].scores, found[1][k].scores)
