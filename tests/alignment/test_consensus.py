"""A basis in which no member is preferred: the folded network does not depend on the order of the
members, and is what theory says.
"""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from head_networks import Attention, built, gap, inputs
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import Plain, Residual, loader, members, trained
from torch import Tensor, nn

from onefold.alignment import Alignment, Match, Moments, align, feature_matchers
from onefold.alignment.consensus import consensus, order_of
from onefold.fold import merge
from onefold.symmetry import GroupMap, apply_maps, find_symmetries

METHODS = [
    "identity",
    "permutation",
    "weights",
    "transport",
    "procrustes",
    "rotation",
    "cca",
    "zipit",
]
NETWORKS = {kind: [m.double() for m in members(kind, 3)] for kind in (Plain, Residual)}
DATA = [(x.double(), y) for x, y in loader()]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [Plain, Residual])
def test_the_fold_does_not_depend_on_the_order_of_the_members(
    kind: type[nn.Module], method: str
) -> None:
    networks = NETWORKS[kind]
    made = [
        merge(
            [networks[k] for k in order], DATA, align=method, reference=None, fold="average"
        ).model
        for order in ((0, 1, 2), (2, 0, 1), (1, 0, 2))
    ]
    with torch.no_grad():
        first, *others = [network(DATA[0][0]) for network in made]
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["permutation", "weights", "transport", "rotation"])
def test_heads_too_and_every_member_keeps_its_function(method: str) -> None:
    networks = [built(Attention(), seed) for seed in range(3)]
    data = inputs(networks[0])
    found = align(networks, data, method=method, reference=None)
    assert found.reference is None
    assert "a common basis" in str(found)
    for network, twin in zip(networks, found.apply(networks), strict=True):
        assert gap(twin, network) < 1e-8
    one, other = (
        merge(own, data, align=method, reference=None, repair="none", fold="average").model
        for own in (networks, networks[::-1])
    )
    assert gap(one, other) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS[1:])
def test_permuted_copies_fold_into_what_they_are_copies_of(method: str) -> None:
    network = trained(Plain, 0).double()
    spec = find_symmetries(network, DATA[0][0])
    generator = torch.Generator().manual_seed(4)
    copies = [network]
    for _ in range(3):
        twin = copy.deepcopy(network)
        maps = {
            g.name: GroupMap("permutation", torch.randperm(g.size, generator=generator))
            for g in spec.groups
        }
        twin.load_state_dict(apply_maps(network.state_dict(), spec, maps))
        copies.append(twin)
    result = merge(copies, DATA, align=method, reference=None, repair="none", fold="average")
    with torch.no_grad():
        torch.testing.assert_close(result.model(DATA[0][0]), network(DATA[0][0]), rtol=0, atol=1e-6)


def features(seed: int, count: int, width: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(300, width, dtype=torch.float64, generator=generator)
    return [
        shared[:, torch.randperm(width, generator=generator)]
        + 0.8 * torch.randn(300, width, dtype=torch.float64, generator=generator)
        for _ in range(count)
    ]


def agreed(blocks: list[Tensor], name: str) -> tuple[Moments, list[Match]]:
    moments = Moments(len(blocks), blocks[0].shape[1], None, every=True)
    moments.update(blocks)
    return moments, consensus(
        moments,
        feature_matchers.get(name)().match,
        order_of({"g": moments}),
        slice(0, moments.width),
    )


def total(moments: Moments, orders: list[Tensor]) -> float:
    """The sum over pairs of the correlations of matched features."""
    pairs = itertools.combinations(range(moments.members), 2)
    return sum(
        float(moments.correlation_between(i, j)[orders[i], orders[j]].sum()) for i, j in pairs
    )


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 5), width=st.integers(2, 6))
def test_no_member_alone_can_do_better(seed: int, count: int, width: int) -> None:
    moments, found = agreed(features(seed, count, width), "permutation")
    orders = [match.map.forward for match in found]
    reached = total(moments, orders)
    for k in range(count):
        for other in itertools.islice(itertools.permutations(range(width)), 50):
            assert (
                total(
                    moments,
                    [torch.tensor(other) if j == k else order for j, order in enumerate(orders)],
                )
                <= reached + 1e-9
            )


def test_rotations_solve_generalised_procrustes() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 5, dtype=torch.float64, generator=generator)
    turns = [
        torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=generator)).Q
        for _ in range(4)
    ]
    _, found = agreed([x @ turn for turn in turns], "rotation")
    first, *others = [
        x @ turn @ match.map.forward.T for turn, match in zip(turns, found, strict=True)
    ]
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-6)


def test_saved_and_loaded(tmp_path) -> None:  # type: ignore[no-untyped-def]
    found = align(NETWORKS[Plain], DATA, method="permutation", reference=None)
    found.save(tmp_path / "a.safetensors")
    assert Alignment.load(tmp_path / "a.safetensors") == found
