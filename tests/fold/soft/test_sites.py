"""Parts that have gates of their own, by patterns, exclusions, directions and layers."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import Residual, loader
from soft_networks import (
    Recurrent,
    accuracy,
    bits,
    keep_only,
    outside,
    random_members,
    same_bits,
    unaligned,
)
from torch import nn

from onefold.fold import SoftMerge, fit_gates


@pytest.mark.slow
@pytest.mark.parametrize("level", ["layer", "module"])
def test_a_damaged_block_is_replaced_by_that_of_another_network(
    residual: list[nn.Module], level: str
) -> None:
    whole, damaged = residual[0], copy.deepcopy(residual[0])
    with torch.no_grad():
        for part in (damaged.conv1, damaged.conv2):
            part.weight.copy_(
                3 * torch.randn(part.weight.shape, generator=torch.Generator().manual_seed(0))
            )
    assert accuracy(damaged) < accuracy(whole) - 0.2, (
        "nothing is damaged, so that this test shows nothing"
    )
    soft = SoftMerge(
        [damaged, whole], level, include=["conv1", "conv2"], align="none", reference=0, screen=False
    )
    result = fit_gates(soft, loader(512), steps=100, fallback=False)
    assert accuracy(result.model) > accuracy(whole) - 0.02
    assert bool((result.gates.values[:, 1] > 0.5).all()), str(result)
    prefixes = ("conv1.", "conv2.")
    assert same_bits(outside(result.model, prefixes), outside(damaged, prefixes))


@pytest.mark.parametrize("include", [["lstm"], ["lstm.l1*"]])
def test_directions_and_layers_of_recurrent_modules_have_gates_of_their_own(
    include: list[str],
) -> None:
    soft = unaligned(random_members(Recurrent, 2), "layer", include=include)
    names = ["lstm.l0", "lstm.l0_reverse", "lstm.l1", "lstm.l1_reverse"]
    assert [site.name for site in soft.sites] == (names if include == ["lstm"] else names[2:])
    keep_only(soft, 1)
    hardened = soft.harden()
    moved = {
        name
        for name, value in bits(hardened).items()
        if not torch.equal(value, soft.members[0].state_dict()[name])
    }
    assert moved == {name for site in soft.sites for name in site.tensors}


def test_patterns_and_exclusions() -> None:
    networks = random_members(Residual, 2)

    def names(**arguments: object) -> list[str]:
        return [site.name for site in unaligned(networks, "layer", **arguments).sites]

    assert names() == ["stem", "norm0", "conv1", "norm1", "conv2", "norm2", "head"]
    assert names(include="conv?") == ["conv1", "conv2"]
    assert names(include=["head", "norm*"]) == ["norm0", "norm1", "norm2", "head"]
    assert names(exclude=["norm?", "stem"]) == ["conv1", "conv2", "head"]
    assert names(include="*1", exclude="norm1") == ["conv1"]
    nested = [
        nn.Sequential(
            nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), nn.ReLU(), nn.Linear(4, 2)
        ).eval()
        for _ in range(2)
    ]
    assert [s.name for s in unaligned(nested, "layer", include="0").sites] == ["0.0", "0.1"]
    assert [s.name for s in unaligned(nested, "module").sites] == ["0", "2"]
    assert [s.name for s in unaligned(nested, "module", include=["0.?", "2"]).sites] == [
        "0.0",
        "0.1",
        "2",
    ]
    assert [s.name for s in unaligned(nested, "module", exclude="2").sites] == ["0"]
    wrapped = [nn.Sequential(inner) for inner in nested]
    assert [s.name for s in unaligned(wrapped, "module").sites] == ["0.0", "0.2"]
