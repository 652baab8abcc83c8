"""`onefold.align` on real small networks: what it undoes, its settings and its errors."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import Plain, Residual, group_normed, loader, logits, members, trained
from torch import nn

from onefold.alignment import Moments, align, feature_matchers
from onefold.alignment.matchers import Permutation
from onefold.alignment.matchers.cca import CCA
from onefold.errors import (
    AlignmentError,
    DataError,
    MembersError,
    NothingToAlignError,
    SettingError,
    WeightsError,
)
from onefold.symmetry import GroupMap, apply_maps, find_symmetries

KINDS = [Plain, Residual]


def scrambled(network: nn.Module, seed: int = 5) -> nn.Module:
    """The same function with its units in another order."""
    spec = find_symmetries(network, loader()[0][0])
    generator = torch.Generator().manual_seed(seed)
    maps = {
        g.name: GroupMap("permutation", torch.randperm(g.size, generator=generator))
        for g in spec.groups
    }
    twin = copy.deepcopy(network)
    twin.load_state_dict(apply_maps(network.state_dict(), spec, maps))
    return twin


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("probe", ["pre", "post"])
def test_permutations_undo_a_scrambling(kind: type[nn.Module], probe: str) -> None:
    network = trained(kind, 0)
    twin = scrambled(network)
    different = [
        k for k, v in network.state_dict().items() if not torch.equal(v, twin.state_dict()[k])
    ]
    assert different, "the scrambling did nothing"
    found = align([network, twin], loader(), method=Permutation(probe=probe))
    first, second = found.apply([network, twin])
    middle = copy.deepcopy(
        first
    )  # units that never fire on the data cannot be told apart, but then their average does no harm
    middle.load_state_dict(
        {
            k: (v + second.state_dict()[k]) / 2 if v.is_floating_point() else v
            for k, v in first.state_dict().items()
        }
    )
    torch.testing.assert_close(logits(middle), logits(network), rtol=0, atol=1e-5)
    naive = copy.deepcopy(first)
    naive.load_state_dict(
        {
            k: (v + twin.state_dict()[k]) / 2 if v.is_floating_point() else v
            for k, v in first.state_dict().items()
        }
    )
    assert (logits(naive) - logits(network)).abs().max() > 0.1, (
        "without the alignment the average would have done as well"
    )


def test_cca_undoes_an_invertible_map_of_linear_features() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(9, 4), nn.Linear(4, 3)).double()
    twin, mixing = (
        copy.deepcopy(network),
        torch.randn(4, 4, dtype=torch.float64) + 2 * torch.eye(4, dtype=torch.float64),
    )
    with torch.no_grad():
        twin[0].weight.copy_(mixing @ network[0].weight)
        twin[0].bias.copy_(mixing @ network[0].bias)
        twin[1].weight.copy_(network[1].weight @ torch.linalg.inv(mixing))
    data = [torch.randn(500, 9, dtype=torch.float64)]
    found = align([network, twin], data, method=CCA(regularization=0.0, prior=0.0))
    torch.testing.assert_close(
        found.apply([network, twin])[1][0].weight, network[0].weight, rtol=0, atol=1e-6
    )
    torch.testing.assert_close(
        found.scores["g0"][1], torch.ones(4, dtype=torch.float64), rtol=0, atol=1e-6
    )


def test_the_ridge_is_free_of_scale_and_its_limit_is_procrustes() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 5, dtype=torch.float64, generator=generator)
    y = x @ torch.randn(5, 5, dtype=torch.float64, generator=generator) + 0.3 * torch.randn(
        400, 5, dtype=torch.float64, generator=generator
    )

    def solved(name: str, scale: float, **settings: float) -> torch.Tensor:
        moments = Moments(2, 5)
        moments.update([scale * x, scale * y])
        return feature_matchers.get(name)(**settings).match(moments, 1).map.forward

    for settings in ({"regularization": 0.1, "prior": 0.0}, {"regularization": 1.0, "prior": 0.5}):
        torch.testing.assert_close(
            solved("cca", 1.0, **settings), solved("cca", 1000.0, **settings)
        )
    for prior in (0.0, 0.5):
        limit = solved("cca", 1.0, regularization=1e7, prior=prior)
        scale = limit.norm() / 5**0.5  # equal up to the ratio of the two mean variances
        torch.testing.assert_close(
            limit / scale, solved("procrustes", 1.0, prior=prior), atol=1e-4, rtol=0
        )
        assert (solved("cca", 1.0, regularization=1e-3, prior=prior) - limit).abs().max() > 0.05


@pytest.mark.parametrize("name", ["cca", "procrustes"])
def test_a_strong_prior_gives_the_permutation_and_a_weak_one_settles_what_the_data_leave_open(
    name: str,
) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(300, 6, dtype=torch.float64, generator=generator)
    moments = Moments(2, 6)
    moments.update(
        [
            x,
            x[:, torch.tensor([3, 0, 5, 1, 2, 4])]
            + 0.5 * torch.randn(300, 6, dtype=torch.float64, generator=generator),
        ]
    )
    forward = feature_matchers.get(name)(prior=1e6).match(moments, 1).map.forward
    scale = forward.norm() / 6**0.5
    expected = torch.eye(6, dtype=torch.float64)[
        feature_matchers.get("permutation")().match(moments, 1).map.forward
    ]
    torch.testing.assert_close(forward / scale, expected, atol=1e-4, rtol=0)
    x[:, 4:] = 0.0  # two units never fire: any map between them fits the data
    silent = Moments(2, 6)
    silent.update([x, x])
    torch.testing.assert_close(
        feature_matchers.get(name)(prior=0.1).match(silent, 1).map.forward,
        torch.eye(6, dtype=torch.float64),
        atol=1e-6,
        rtol=0,
    )


@pytest.mark.parametrize("method", ["cca", "permutation"])
def test_a_network_in_which_nothing_can_move_has_no_alignment_but_the_empty_one_that_says_so(
    method: str,
) -> None:
    networks = [nn.Sequential(nn.Flatten(), nn.Linear(64, 4)) for _ in range(2)]
    with pytest.raises(NothingToAlignError, match="no features between layers"):
        align(networks, loader(), method=method)
    found = align(networks, loader(), method="identity")
    assert found.table() == []
    assert torch.equal(found.apply(networks)[1][1].weight, networks[1][1].weight)


def test_groups_that_take_no_dense_map_fall_back_to_permutations_and_say_so() -> None:
    found = align([group_normed(0), group_normed(1)], loader(), method="cca")
    assert sorted(found.matchers.values()) == ["cca", "permutation"]
    assert list(found.fallbacks.values()) == ["its tensors take no dense map"]
    assert "takes no dense map" in str(found) or "take no dense map" in str(found)


@pytest.mark.slow
def test_a_cap_on_positions_counts_fewer_samples_and_changes_little() -> None:
    networks = members(Plain, 2)
    full, capped = (
        align(networks, loader(), method="permutation", max_positions=m) for m in (None, 16)
    )
    again = align(networks, loader(), method="permutation", max_positions=16)
    assert capped.scores["g0"].ne(full.scores["g0"]).any(), "the cap did nothing"
    torch.testing.assert_close(
        capped.scores["g0"].mean(), full.scores["g0"].mean(), atol=0.05, rtol=0
    )
    assert torch.equal(again.scores["g0"], capped.scores["g0"]), (
        "the same seed gave other positions"
    )


@pytest.mark.slow
def test_memory_is_bounded_by_the_formula_whatever_the_number_of_examples() -> None:
    networks = members(Plain, 3)
    small, large = (align(networks, loader(n), method="cca") for n in (256, 1024))
    widths = [g.size for g in small.spec.groups]
    assert small.numbers == large.numbers == sum((2 * 3 - 1) * c * c + 2 * 3 * c for c in widths)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "ccaa"}, SettingError, "no matcher named 'ccaa'; did you mean 'cca'"),
        ({"method": CCA(regularization=-1.0)}, AlignmentError, "must be 0 or greater"),
        ({"reference": 2}, AlignmentError, "numbered 0 to 1"),
        ({"max_positions": 0}, SettingError, "at least 1"),
    ],
)
def test_unusable_settings(
    arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        align(members(Plain, 2), loader(), **arguments)  # type: ignore[arg-type]


@pytest.mark.slow
def test_unusable_members_and_data() -> None:
    networks = members(Plain, 2)
    with pytest.raises(MembersError, match="1 network was given"):
        align(networks[:1], loader())
    with pytest.raises(MembersError, match="Member 0 is a Plain but member 1 is a Residual"):
        align([networks[0], trained(Residual, 0)], loader())
    broken = copy.deepcopy(networks[1])
    broken.hidden.weight.data[0, 0] = float("nan")
    with pytest.raises(WeightsError, match=r"member 1.*hidden\.weight"):
        align([networks[0], broken], loader())
    with pytest.raises(DataError, match="yielded no batch"):
        align(networks, [])
    with pytest.raises(DataError, match=r"parameters are float32.*float64"):
        align(networks, [x.double() for x, _ in loader()])
    with pytest.raises(
        DataError,
        match=r"has 12 features but the calibration data gave only 9 samples.*at least 13",
    ):
        align(networks, [loader()[0][0][:9]])
    other = find_symmetries(trained(Residual, 0), loader()[0][0])
    with pytest.raises(AlignmentError, match="another architecture"):
        align(networks, loader(), spec=other)
    found = align(networks, loader())
    with pytest.raises(AlignmentError, match="computed for 2 members but 1 were given"):
        found.apply(networks[:1])
