"""What is said of matchers and of repair holds: ZipIt's budget, transport that is the permutation,
outputs that have no target.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_networks import Plain, Residual
from torch import Tensor, nn

from onefold.alignment import Moments, align, matchers
from onefold.alignment.matchers.zipit import ZipIt, zip_features
from onefold.errors import AlignmentError


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


def random_pair(kind: type[nn.Module]) -> tuple[list[nn.Module], list[Tensor]]:
    networks = []
    for seed in range(2):
        torch.manual_seed(seed)
        networks.append(kind().eval())
    shape = {Plain: (1, 8, 8), Residual: (1, 8, 8), TwoHeads: (5,)}.get(kind, (6, 5))
    return networks, [
        torch.randn(64, *shape, generator=torch.Generator().manual_seed(k)) for k in range(3)
    ]


# ---- ZipIt's budget


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
    """Each member has an equal part of beta (K - 1) C merges; as `within` it is beta (K - 1) / K."""
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


# ---- transport


@pytest.mark.parametrize("kind", [Plain, Residual, Attention])
def test_transport_of_equal_widths_is_the_permutation(kind: type[nn.Module]) -> None:
    found = [align(*random_pair(kind), method=name) for name in ("permutation", "transport")]
    for name, pair in found[0].maps.items():
        assert [m.kind for m in found[1].maps[name]] == ["permutation"] * 2
        assert torch.equal(found[1].maps[name][1].forward, pair[1].forward)
    for node, target in found[0].targets.items():
        torch.testing.assert_close(found[1].targets[node].deviation, target.deviation)
    assert "of equal widths without entropy the same as permutation" in next(
        e.summary for e in matchers if e.name == "transport"
    )


def test_with_entropy_or_plain_distances_transport_is_another_map() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(40, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    moments = Moments(2, 6)
    moments.update([a, b * torch.tensor([1, 1, 1, 8, 9, 10]) + 0.5 * a])
    transport = matchers.get("transport")
    plain = matchers.get("permutation")().match(moments, 1).map
    assert torch.equal(transport().match(moments, 1).map.forward, plain.forward)
    assert not torch.equal(
        transport(standardised=False).match(moments, 1).map.forward, plain.forward
    )  # type: ignore[call-arg]
    assert transport(entropy=0.05).match(moments, 1).map.kind == "dense"  # type: ignore[call-arg]


# ---- what repair aims at


class TwoHeads(nn.Module):
    """A network of two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.first, self.second = nn.Linear(5, 7), nn.Linear(7, 3), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.trunk(x))
        return self.first(x), self.second(x)


class Series(nn.Module):
    """An output at every step of a series."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Conv1d(6, 9, 3, padding=1), nn.Conv1d(9, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.into(x)))


@pytest.mark.parametrize(
    ("kind", "heads"),
    [(Plain, {"head"}), (Residual, {"head"}), (TwoHeads, {"first", "second"}), (Series, {"out"})],
)
def test_hidden_layers_have_targets_and_the_outputs_have_none(
    kind: type[nn.Module], heads: set[str]
) -> None:
    found = align(*random_pair(kind), method="permutation")
    by_name = {layer.weight.removesuffix(".weight"): layer for layer in found.spec.layers}
    assert {
        name for name, layer in by_name.items() if layer.output in found.targets
    } == by_name.keys() - heads
