"""Every two of several networks: a permuted copy is far away and yet the same function, other
networks are not, whatever is done to them.
"""

from __future__ import annotations

import copy
import json

import pytest
import torch
from small_networks import Plain, Residual, loader, trained
from torch import Tensor, nn

import onefold as of
from onefold.errors import DataError, MembersError, SettingError
from onefold.explore import measure_pairs
from onefold.explore.pairs import distance
from onefold.symmetry import GroupMap, apply_maps

DATA, TRAINING = loader(256, 1), loader(256, 2)


def shuffled(network: nn.Module, seed: int = 0) -> nn.Module:
    """The same function with the units of every group in a random order."""
    generator = torch.Generator().manual_seed(seed)
    spec = of.find_symmetries(network, DATA[0][0])
    maps = {
        group.name: GroupMap("permutation", torch.randperm(group.size, generator=generator))
        for group in spec.groups
        if not group.over
    }
    twin = copy.deepcopy(network)
    twin.load_state_dict(apply_maps(network.state_dict(), spec, maps))
    return twin


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Plain, Residual])
def test_a_permuted_copy_is_far_until_it_is_aligned_and_another_network_stays_far(
    kind: type[nn.Module],
) -> None:
    network, other = trained(kind, 0), trained(kind, 1)
    networks = [network, shuffled(network), other]
    before = [copy.deepcopy(each.state_dict()) for each in networks]
    found = measure_pairs(networks, DATA, calibration_data=TRAINING, points=5)
    plain, aligned = found.plain, found.aligned
    assert aligned is not None
    assert found.note == ""
    size = float(found.norms[0])
    assert plain.disagreement[0, 1] == aligned.disagreement[0, 1] == 0
    assert plain.distances[0, 1] > 0.3 * size
    assert aligned.distances[0, 1] < 1e-5 * size
    assert plain.barriers[0, 1] > 0.01
    assert aligned.barriers[0, 1] < 1e-4

    # The control: another network is of another opinion somewhere, and no permutation makes it the
    # same.
    assert plain.disagreement[0, 2] == aligned.disagreement[0, 2] > 0
    assert 0.3 * size < aligned.distances[0, 2] < plain.distances[0, 2]
    for pairs in (plain, aligned):
        for matrix in (pairs.distances, pairs.disagreement, pairs.barriers):
            assert matrix.shape == (3, 3)
            assert matrix.dtype == torch.float64
            assert torch.equal(matrix, matrix.T)
            assert not matrix.diagonal().any()
        assert list(pairs.paths) == [(0, 1), (0, 2), (1, 2)]
        assert all(path.recalibrated == (kind is Residual) for path in pairs.paths.values())
    for each, state in zip(networks, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in each.state_dict().items())
    assert "aligned" in str(found)
    json.dumps(found.to_dict(), allow_nan=False)


def test_matrices_hold_what_the_single_measures_say() -> None:
    a, b = trained(Plain, 0), trained(Plain, 1)
    found = measure_pairs([a, b], DATA, align=False, points=3, loss="error").plain
    flat = [
        torch.cat([p.detach().double().flatten() for p in each.parameters()]) for each in (a, b)
    ]
    assert float(found.distances[0, 1]) == pytest.approx(
        float((flat[0] - flat[1]).norm()), rel=1e-12
    )
    x = torch.cat([x for x, _ in DATA])
    assert float(found.disagreement[0, 1]) == pytest.approx(
        float((a(x).argmax(1) != b(x).argmax(1)).double().mean())
    )
    assert float(found.barriers[0, 1]) == of.barrier(a, b, DATA, points=3, loss="error").barrier
    assert found.means()["barrier"] == float(found.barriers[0, 1])
    assert distance(a, a) == 0


def test_two_equal_networks_with_dead_units_are_aligned_in_place() -> None:
    network = trained(Plain, 0)
    with torch.no_grad():
        network.hidden.bias[:6] = -100.0  # never active behind the nonlinearity
    found = measure_pairs([network, shuffled(network, 3)], DATA, points=3)
    assert found.aligned is not None
    assert found.aligned.distances[0, 1] < 1e-5 * found.norms[0]


class Untraceable(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if float(x.sum()) > -1e9 else x


def test_what_cannot_be_aligned_is_compared_as_it_is_with_a_note() -> None:
    found = measure_pairs([trained(Untraceable, 0), trained(Untraceable, 1)], DATA, points=3)
    assert found.aligned is None
    assert found.note.startswith("The networks could not be aligned: ")
    assert found.plain.disagreement[0, 1] > 0
    bare = [nn.Sequential(nn.Flatten(), nn.Linear(64, 4)) for _ in range(2)]
    found = measure_pairs(bare, DATA, points=3)
    assert found.aligned is None
    assert "No symmetry was found" in found.note
    assert measure_pairs(bare, DATA, align=False, points=3).note == ""
    assert found.to_dict()["aligned"] is None


def test_bad_input() -> None:
    a, b = trained(Plain, 0), trained(Residual, 0)
    with pytest.raises(MembersError, match="only one network"):
        measure_pairs([a], DATA)
    with pytest.raises(MembersError, match="Residual"):
        measure_pairs([a, b], DATA)
    with pytest.raises(DataError, match="only once"):
        measure_pairs([a, a], iter(DATA))
    with pytest.raises(DataError, match="no labels"):
        measure_pairs([a, a], [x for x, _ in DATA])
    with pytest.raises(SettingError, match="2 points"):
        measure_pairs([a, a], DATA, points=2)
    with pytest.raises(SettingError, match="no loss named"):
        measure_pairs([a, a], DATA, loss="eror")  # type: ignore[arg-type]
