"""Weight matching: it undoes any permutation it is shown, never loses, needs no data, and matches
heads with what they hold.
"""

from __future__ import annotations

import copy
import itertools
import warnings

import pytest
import random_networks
import torch
from head_networks import Attention, Grouped, average, built, gap, inputs, moved
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_networks import case, largest_deviation
from small_networks import Plain, Residual, loader, members, trained
from torch import Tensor, nn

import onefold
from onefold.alignment import align
from onefold.alignment.matchers.weight_matching import WeightMatching
from onefold.alignment.matchers.weight_problem import descend
from onefold.errors import AlignmentError, SettingError
from onefold.fold import merge
from onefold.symmetry import GroupMap, SymmetrySpec, apply_maps, find_symmetries


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [192, 256]
)  # random networks with complex weights; the second has heads
@pytest.mark.parametrize("reference", [0, None])
def test_identical_networks_stay_what_they_are(number: int, reference: int | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = case(number)
        assert any(tensor.is_complex() for tensor in made.network.state_dict().values())
        result = onefold.merge(
            random_networks.members(made, 2),
            made.data,
            align="weights",
            repair="none",
            reference=reference,
            fold="average",
        )
    assert largest_deviation(made.outputs(made.network), made.outputs(result.model)) < 1e-5


class Recurrent(nn.Module):
    """A recurrent layer, whose state stands on both axes of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(5, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


NETWORKS = {
    "apart": lambda: Attention(),
    "fused": lambda: Attention(fused=True),
    "shared": lambda: Attention(shared=True),
    "grouped": Grouped,
    "recurrent": Recurrent,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NETWORKS))
def test_permuted_copies_are_recovered_heads_included(name: str) -> None:
    network = built(NETWORKS[name]())
    spec = find_symmetries(network, inputs(network)[0])
    twin = moved(
        network, spec, dict.fromkeys([g.name for g in spec.groups], "permutation"), fold=False
    )
    found = align([network, twin], method="weights", spec=spec)
    for own, value in zip(
        network.state_dict().values(),
        found.apply([network, twin])[1].state_dict().values(),
        strict=True,
    ):
        torch.testing.assert_close(value, own, rtol=0, atol=1e-12)
    assert min(float(s[1].min()) for s in found.scores.values()) > 1 - 1e-9
    assert gap(average(found, [network, twin]), network) < 1e-10


def independent(name: str, count: int = 3) -> tuple[list[nn.Module], SymmetrySpec]:
    networks = [built(NETWORKS[name](), seed) for seed in range(count)]
    return networks, find_symmetries(networks[0], inputs(networks[0])[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NETWORKS))
@pytest.mark.parametrize("reference", [1, None])
def test_members_keep_their_function(name: str, reference: int | None) -> None:
    networks, spec = independent(name)
    found = align(networks, method="weights", spec=spec, reference=reference)
    for network, twin in zip(networks, found.apply(networks), strict=True):
        assert gap(twin, network) < 1e-12


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), name=st.sampled_from(sorted(NETWORKS)), balanced=st.booleans())
def test_no_step_loses_and_the_maps_are_the_state(seed: int, name: str, balanced: bool) -> None:
    networks, spec = SHARED[name]
    generator = torch.Generator().manual_seed(seed)
    states = [
        {
            k: v + 0.3 * torch.randn(v.shape, dtype=v.dtype, generator=generator)
            for k, v in n.state_dict().items()
        }
        for n in networks
    ]
    problem = WeightMatching(balanced=balanced).problem(spec, states[0], states[1])
    history = descend(problem, seed)
    assume(len(history) > 1)  # else nothing was gained, and nothing is tested
    assert all(after > before for before, after in itertools.pairwise(history))
    assert history[-1] == pytest.approx(problem.objective())
    applied = apply_maps(states[1], spec, problem.maps)
    for key, value in problem.state.items():
        torch.testing.assert_close(value, applied[key])
    again = WeightMatching(balanced=balanced).problem(spec, states[0], states[1])
    descend(again, seed)
    assert all(
        torch.equal(own.forward, problem.maps[key].forward) for key, own in again.maps.items()
    )


SHARED = {name: independent(name, 2) for name in NETWORKS}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Plain, Residual])
def test_a_merge_needs_no_data(kind: type[nn.Module]) -> None:
    network = trained(kind, 0).double()
    image = loader()[0][0].double()
    spec = find_symmetries(network, image)
    twin = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(2)
    twin.load_state_dict(
        apply_maps(
            network.state_dict(),
            spec,
            {
                g.name: GroupMap("permutation", torch.randperm(g.size, generator=generator))
                for g in spec.groups
            },
        )
    )
    before = {k: v.clone() for k, v in twin.state_dict().items()}
    found = align([network, twin], method="weights", spec=spec)
    result = merge([network, twin], align=found, repair="none", fold="average")
    torch.testing.assert_close(result.model(image), network(image), rtol=0, atol=1e-9)
    assert all(torch.equal(v, before[k]) for k, v in twin.state_dict().items())
    assert result.report.examples == 0
    assert set(result.alignment.matchers.values()) == {"weights"}  # type: ignore[union-attr]


@pytest.mark.slow
def test_data_give_targets_for_repair() -> None:
    networks = members(Residual, 2)
    with_data = merge(networks, loader(), align="weights", fold="average")
    assert with_data.report.examples == 256
    assert with_data.report.repaired["norms"] == 3
    alone = align(networks, method="weights", spec=with_data.alignment.spec)
    for group, maps in with_data.alignment.maps.items():  # type: ignore[union-attr]
        assert torch.equal(maps[1].forward, alone.maps[group][1].forward)


def test_tensors_are_weighed_by_their_norms() -> None:
    networks = [m.double() for m in members(Plain, 2)]
    spec = find_symmetries(networks[0], loader()[0][0].double())
    larger = copy.deepcopy(networks[1])
    with torch.no_grad():
        larger.head.weight.mul_(1e4)
    plain, scaled = (
        align([networks[0], own], method=WeightMatching(balanced=True), spec=spec)
        for own in (networks[1], larger)
    )
    for group, maps in plain.maps.items():
        assert torch.equal(maps[1].forward, scaled.maps[group][1].forward)
    plain, scaled = (
        align([networks[0], own], method=WeightMatching(balanced=False), spec=spec)
        for own in (networks[1], larger)
    )
    assert not all(
        torch.equal(maps[1].forward, scaled.maps[group][1].forward)
        for group, maps in plain.maps.items()
    )


def test_the_best_of_several_descents_is_kept() -> None:
    networks, spec = SHARED["apart"]

    def reached(matcher: WeightMatching, seed: int) -> float:
        found = align(networks, method=matcher, spec=spec, seed=seed)
        problem = matcher.problem(spec, *(network.state_dict() for network in networks))
        return problem.objective(
            state=apply_maps(
                networks[1].state_dict(), spec, {name: maps[1] for name, maps in found.maps.items()}
            )
        )

    alone = [reached(WeightMatching(starts=1), seed) for seed in range(4)]
    assert len({round(value, 9) for value in alone}) > 1, (
        "all descents end the same, so that nothing was tested"
    )
    assert reached(WeightMatching(starts=4), 0) == pytest.approx(max(alone))


@pytest.mark.slow
@pytest.mark.parametrize("norms", ["apart", "folded"])
def test_norms_count_apart_or_folded(norms: str) -> None:
    """A layer before a batch norm may have any scale: folded norms do not see it, norms apart do.

    Running statistics never take part alone.
    """
    networks = [m.double() for m in members(Residual, 2)]
    spec = find_symmetries(networks[0], loader()[0][0].double())
    scaled = copy.deepcopy(networks[1])
    layer = next(own for own in spec.layers if own.norm is not None and own.bias is None)
    assert layer.norm is not None
    factor = torch.logspace(
        0, 3, scaled.state_dict()[layer.norm.mean].shape[0], dtype=torch.float64
    )
    state = scaled.state_dict()
    state[layer.weight] = state[layer.weight] * factor.reshape(
        -1, *[1] * (state[layer.weight].dim() - 1)
    )
    state[layer.norm.mean], state[layer.norm.variance] = (
        state[layer.norm.mean] * factor,
        (state[layer.norm.variance] + layer.norm.eps) * factor**2,
    )
    state[layer.norm.variance] = state[layer.norm.variance] - layer.norm.eps
    scaled.load_state_dict(state)
    image = loader()[0][0].double()
    torch.testing.assert_close(scaled(image), networks[1](image), rtol=0, atol=1e-9)
    plain, other = (
        align([networks[0], own], method=WeightMatching(norms=norms), spec=spec)
        for own in (networks[1], scaled)
    )
    same = all(
        torch.equal(maps[1].forward, other.maps[group][1].forward)
        for group, maps in plain.maps.items()
    )
    assert same == (norms == "folded")


@pytest.mark.slow
@pytest.mark.parametrize("norms", ["apart", "folded"])
def test_running_statistics_count_only_where_norms_are_folded(norms: str) -> None:
    networks = [m.double() for m in members(Residual, 2)]
    spec = find_symmetries(networks[0], loader()[0][0].double())
    matcher = WeightMatching(norms=norms, starts=1)
    counted = set(matcher.problem(spec, networks[0].state_dict(), networks[1].state_dict()).weights)
    statistics = {
        name
        for layer in spec.layers
        if layer.norm is not None
        for name in (layer.norm.mean, layer.norm.variance)
    }
    learned = {
        name
        for layer in spec.layers
        if layer.norm is not None
        for name in (layer.norm.scale, layer.norm.shift)
    }
    assert learned <= counted
    assert counted & statistics == (
        {layer.norm.mean for layer in spec.layers if layer.norm is not None}
        if norms == "folded"
        else set()
    )


@pytest.mark.slow
def test_what_cannot_be_done_is_said() -> None:
    networks = members(Plain, 2)
    with pytest.raises(AlignmentError, match="pass spec="):
        align(networks, method="weights")
    with pytest.raises(AlignmentError, match="pass calibration data, or use method='weights'"):
        align(networks, method="cca")
    with pytest.raises(SettingError, match="pass `data`, or the alignment"):
        merge(networks, align="weights", fold="average")
    with pytest.raises(SettingError, match="need calibration data"):
        merge(networks, align="cca", repair="none", fold="average")
    with pytest.raises(AlignmentError, match="0 sweeps; it needs at least 1"):
        WeightMatching(sweeps=0)
    with pytest.raises(AlignmentError, match="0 starts; it needs at least 1"):
        WeightMatching(starts=0)
    with pytest.raises(AlignmentError, match=r"norms 'fold'.*folded"):
        WeightMatching(norms="fold")
    with pytest.raises(AlignmentError, match="numbered 0 to 1"):
        align(
            networks,
            method="weights",
            spec=find_symmetries(networks[0], loader()[0][0]),
            reference=2,
        )


@pytest.mark.parametrize("name", ["apart", "recurrent"])
def test_in_a_common_basis_no_member_gains_by_another_step(name: str) -> None:
    """Members are matched to the mean of the others until none moves, and not once each."""
    networks, spec = independent(name)
    matcher = WeightMatching()
    found = align(networks, method=matcher, spec=spec, reference=None).apply(networks)
    states = [network.state_dict() for network in found]
    for k, own in enumerate(states):
        others = [state for j, state in enumerate(states) if j != k]
        mean = {key: sum(state[key] for state in others) / len(others) for key in own}
        assert len(descend(matcher.problem(spec, mean, own), 0)) == 1


class Layers(nn.Module):
    """One hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.tanh(self.one(x)))


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_are_cosines_of_all_weights_of_a_unit(balanced: bool, seed: int) -> None:
    networks = [built(Layers(), seed + k) for k in range(2)]
    spec = find_symmetries(networks[0], torch.randn(2, 4).double())
    found = align(networks, method=WeightMatching(balanced=balanced), spec=spec)
    ours, theirs = (network.state_dict() for network in found.apply(networks))
    total = torch.zeros(3, 6, dtype=torch.float64)
    for name in ("one.weight", "one.bias", "two.weight"):
        a, b = (state[name].T if name == "two.weight" else state[name] for state in (ours, theirs))
        a, b = a.reshape(6, -1), b.reshape(6, -1)
        share = 1.0 / (a.norm() * b.norm()) if balanced else 1.0
        total += share * torch.stack([(a * b).sum(1), (a * a).sum(1), (b * b).sum(1)])
    (group,) = found.scores
    torch.testing.assert_close(found.scores[group][1], total[0] / (total[1] * total[2]).sqrt())
    assert found.scores[group][0].tolist() == [1.0] * 6
