"""Steps of weight matching are the best there are: against all that could be done instead."""

from __future__ import annotations

import itertools

import pytest
import torch
from head_networks import built
from torch import Tensor, nn

from onefold.alignment import align
from onefold.alignment.matchers.weight_matching import WeightMatching
from onefold.alignment.matchers.weight_problem import Unit, descend
from onefold.symmetry import GroupMap, SymmetrySpec, apply_maps, find_symmetries
from onefold.symmetry.maps import fibre_shape

HEADS = 3


class Gained(nn.Module):
    """Attention with a gain for each head, and queries and keys of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(4, HEADS), nn.Linear(4, HEADS), nn.Linear(4, 2 * HEADS)
        self.gain, self.out = nn.Parameter(torch.ones(HEADS, 1, 1)), nn.Linear(2 * HEADS, 4)

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = (
            part(x).view(n, t, HEADS, -1).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        z = (q @ k.transpose(-1, -2)).softmax(-1) @ v * self.gain
        return self.out(z.transpose(1, 2).flatten(2))


def structure(network: nn.Module) -> SymmetrySpec:
    x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return find_symmetries(network, x)


def orders_of(spec: SymmetrySpec) -> list[dict[str, GroupMap]]:
    """Every permutation of the heads and of the units inside each of them."""
    ways = []
    for group in spec.groups:
        count = 1
        for size in fibre_shape(spec, group):
            count *= size
        own = list(itertools.permutations(range(group.size)))
        shape = (*fibre_shape(spec, group), group.size)
        ways.append(
            [
                (group.name, GroupMap("permutation", torch.tensor(each).reshape(shape)))
                for each in itertools.product(own, repeat=count)
            ]
        )
    return [dict(each) for each in itertools.product(*ways)]


@pytest.mark.parametrize("balanced", [False, True])
def test_a_step_of_heads_is_the_best_of_all_orders_of_heads_and_their_units(balanced: bool) -> None:
    spec, matcher = structure(built(Gained())), WeightMatching(balanced=balanced)
    index = next(group for group in spec.groups if group.size == HEADS and not group.over)
    over = tuple(group for group in spec.groups if index.name in group.over)
    assert {group.size for group in over} >= {2}
    every = orders_of(spec)
    moved = 0
    for seed in range(6):
        one, other = (built(Gained(), 2 * seed + k).state_dict() for k in range(2))
        problem = matcher.problem(spec, one, other)
        before = problem.objective()
        best = max(problem.objective(state=apply_maps(other, spec, maps)) for maps in every)
        gain = problem.step(Unit(index, over))
        assert problem.objective() == pytest.approx(best)
        assert gain == pytest.approx(best - before)
        moved += not torch.equal(problem.maps[index.name].forward, torch.arange(HEADS))
    assert moved > 2


class Channels(nn.Module):
    """Units over each of the inputs, which stay in their places."""

    def __init__(self) -> None:
        super().__init__()
        self.each, self.head = nn.Conv1d(4, 20, 3, groups=4), nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.each(x)).mean(2))


@pytest.mark.parametrize("seed", range(3))
def test_units_over_parts_that_stay_are_matched_part_by_part(seed: int) -> None:
    network = built(Channels())
    spec = find_symmetries(network, torch.randn(2, 4, 9, dtype=torch.float64))
    (group,) = spec.groups
    assert group.size == 5
    generator = torch.Generator().manual_seed(seed)
    orders = torch.stack([torch.randperm(5, generator=generator) for _ in range(4)])
    twin = built(Channels())
    maps = {group.name: GroupMap("permutation", orders)}
    twin.load_state_dict(apply_maps(network.state_dict(), spec, maps))
    found = align([network, twin], method="weights", spec=spec)
    for name, value in found.apply([network, twin])[1].state_dict().items():
        assert torch.equal(value, network.state_dict()[name])


@pytest.mark.parametrize("factors", [(1e-6, 1e-6), (1.0, 1e-9), (1e-7, 1.0), (1e4, 1e5)])
@pytest.mark.parametrize("balanced", [False, True])
def test_networks_of_any_scale_are_matched_alike(
    factors: tuple[float, float], balanced: bool
) -> None:
    """What counts as rounding is told beside the greatest sum that such weights can give."""
    networks = [built(Gained(), seed) for seed in range(2)]
    spec, states = structure(networks[0]), [network.state_dict() for network in networks]
    found = []
    for own in ((1.0, 1.0), factors):
        scaled = [
            {name: factor * value for name, value in state.items()}
            for factor, state in zip(own, states, strict=True)
        ]
        problem = WeightMatching(balanced=balanced).problem(spec, *scaled)
        assert len(descend(problem, 0)) > 1
        found.append(problem.maps)
    assert set(found[0]) == set(found[1])
    for name, group_map in found[0].items():
        assert torch.equal(group_map.forward, found[1][name].forward)
