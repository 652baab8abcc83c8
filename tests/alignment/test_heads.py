"""Attention heads and other fibres: each takes a map of its own, heads are matched together,
rotations undo rotations.
"""

from __future__ import annotations

import copy

import pytest
import torch
from head_networks import HEADS, WIDTH, Attention, Grouped, average, built, gap, inputs, moved

from onefold.alignment import Alignment, Reading, align, build_problem, solve_problem
from onefold.alignment.layout import layouts
from onefold.alignment.matchers import Matcher, feature_matchers
from onefold.alignment.matchers.cca import CCA
from onefold.symmetry import GroupMap, apply_maps, find_symmetries
from onefold.symmetry.axes import Group


def widest(group: Group) -> str:
    """The widest class that a dense matcher finds exactly."""
    allowed = group.maps | group.folded
    for kind in ("invertible", "orthogonal", "orthogonal_mean"):
        if kind in allowed:
            return kind
    return "permutation"


NETWORKS = {
    "apart": lambda: Attention(),
    "fused": lambda: Attention(fused=True),
    "shared": lambda: Attention(shared=True),
    "grouped": Grouped,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["apart", "fused", "grouped"])
def test_permutations_of_heads_and_within_them_are_undone(name: str) -> None:
    network = built(NETWORKS[name]())
    spec = find_symmetries(network, inputs(network)[0])
    twin = moved(
        network, spec, dict.fromkeys([g.name for g in spec.groups], "permutation"), fold=False
    )
    assert gap(twin, network) < 1e-12
    found = align([network, twin], inputs(network), method="permutation", spec=spec)
    assert gap(average(found, [network, twin]), network) < 1e-10
    over = [g for g in spec.groups if g.over]
    assert over
    for group in over:
        assert found.maps[group.name][1].forward.shape == (HEADS, group.size)
        assert (
            len({tuple(row.tolist()) for row in found.maps[group.name][1].forward}) > 1
        )  # one map for all heads could not do it


@pytest.mark.slow
@pytest.mark.parametrize("name", ["apart", "fused"])
def test_dense_maps_undo_rotations_of_the_stream_and_any_map_within_heads(name: str) -> None:
    network = built(NETWORKS[name]())
    spec = find_symmetries(network, inputs(network)[0])
    kinds = {
        g.name: "permutation" if any(g.name in other.over for other in spec.groups) else widest(g)
        for g in spec.groups
    }
    assert "orthogonal_mean" in kinds.values()
    assert {"apart": "invertible", "fused": "orthogonal"}[name] in kinds.values()
    twin = moved(network, spec, kinds, fold=True)
    assert gap(twin, network) < 1e-10
    found = align(
        [network, twin], inputs(network), method=CCA(regularization=1e-9, prior=0.0), spec=spec
    )
    assert found.folds_scales
    assert gap(average(found, [network, twin]), network) < 1e-6
    # the negative control: permutations alone cannot undo it
    assert (
        gap(
            average(
                align([network, twin], inputs(network), method="permutation", spec=spec),
                [network, twin],
            ),
            network,
        )
        > 0.1
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NETWORKS))
def test_permuted_members_keep_their_function(name: str) -> None:
    networks = [built(NETWORKS[name](), seed) for seed in range(3)]
    found = align(networks, inputs(networks[0]), method="permutation")
    for network, twin in zip(networks, found.apply(networks), strict=True):
        assert gap(twin, network) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("method", ["cca", "procrustes"])
@pytest.mark.parametrize("name", ["apart", "fused", "shared"])
def test_dense_maps_outside_the_nonlinearity_keep_each_members_function(
    name: str, method: str
) -> None:
    networks = [built(NETWORKS[name](), seed) for seed in range(2)]
    spec = find_symmetries(networks[0], inputs(networks[0])[0])
    found = align(networks, inputs(networks[0]), method=method, spec=spec)
    hidden = next(
        g.name for g in spec.groups if g.size == 24
    )  # a dense map of what gelu reads is approximate
    held = Alignment(
        **{f: getattr(found, f) for f in found.__dataclass_fields__}
        | {"maps": {**found.maps, hidden: (GroupMap.identity(24),) * 2}}
    )
    assert any(m[1].kind == "dense" for m in held.maps.values())
    for network, twin in zip(networks, held.apply(networks), strict=True):
        assert gap(twin, network) < 1e-8


@pytest.mark.slow
def test_heads_are_matched_by_queries_keys_and_values_together() -> None:
    network = built(Attention())
    spec = find_symmetries(network, inputs(network)[0])
    index = next(g.name for g in spec.groups if any(g.name in other.over for other in spec.groups))
    order = torch.tensor([2, 0, 3, 1])
    twin = copy.deepcopy(network)
    twin.load_state_dict(
        apply_maps(network.state_dict(), spec, {index: GroupMap("permutation", order)})
    )
    for method in ("permutation", "procrustes", "cca"):
        found = align([network, twin], inputs(network), method=method, spec=spec)
        assert torch.equal(order[found.maps[index][1].forward], torch.arange(HEADS))
        assert float(found.scores[index][1].min()) > 0.99
        assert "agree best" in found.fallbacks[index]


def test_a_user_matcher_serves_heads_too_and_settings_reach_it() -> None:
    seen: list[tuple[int, ...]] = []

    class Watching(feature_matchers.get("permutation")):  # type: ignore[misc]
        def match(self, moments, member):  # type: ignore[no-untyped-def]
            seen.append(tuple(moments.correlation(member).shape))
            return super().match(moments, member)

    networks = [built(Attention(), seed) for seed in range(2)]
    problem = build_problem(networks, inputs(networks[0]), Reading(full=False))
    matcher: Matcher = Watching()
    solve_problem(problem, matcher)
    size = WIDTH // HEADS
    assert (
        seen.count((size, size)) == 2 * HEADS**2
    )  # queries with keys, and values: every head with every other


def test_an_alignment_with_heads_is_saved_and_loaded(tmp_path) -> None:
    networks = [built(Attention(), seed) for seed in range(2)]
    found = align(networks, inputs(networks[0]), method="procrustes")
    found.save(tmp_path / "a.safetensors")
    assert Alignment.load(tmp_path / "a.safetensors") == found
    assert "per" not in str(found.table()[0]["note"])


@pytest.mark.slow
def test_wide_fibres_share_one_map(monkeypatch: pytest.MonkeyPatch) -> None:
    network = built(Attention())
    spec = find_symmetries(network, inputs(network)[0])
    assert any(layout.apart for layout in layouts(spec).values())
    monkeypatch.setattr("onefold.alignment.layout.WIDEST", 8)
    assert not any(layout.apart for layout in layouts(spec).values())
    twin = built(Attention(), 1)
    found = align([network, twin], inputs(network), method="permutation", spec=spec)
    assert gap(found.apply([network, twin])[1], twin) < 1e-12
