"""Networks of one architecture: another initialisation for every number, the same for the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from soft_networks import bits, same_bits
from torch import nn

from onefold.errors import SettingError
from onefold.explore.initial_networks import initial_network


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_every_number_begins_elsewhere_and_the_same_number_alike(seed: int) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    networks = [initial_network(network, seed, number) for number in (0, 1, 2)]
    again = [initial_network(network, seed, number) for number in (0, 1, 2)]
    assert torch.equal(torch.get_rng_state(), state)  # of the process
    for number, (one, other) in enumerate(zip(networks, again, strict=True)):
        assert same_bits(bits(one), bits(other))
        assert number == 0 or not torch.equal(one[0].weight, networks[number - 1][0].weight)


def pretrained() -> nn.Module:
    torch.manual_seed(0)
    return network()


def zeros() -> nn.Module:
    made = network()
    for parameter in made.parameters():
        nn.init.zeros_(parameter)
    return made


def norm() -> nn.Module:
    return nn.BatchNorm1d(3)


@pytest.mark.parametrize("factory", [pretrained, zeros, norm])
def test_networks_that_always_begin_alike_cannot_be_restarted(
    factory: Callable[[], nn.Module],
) -> None:
    initial_network(factory, 0)
    with pytest.raises(SettingError, match=r"The network 'n' always begins from the same weights"):
        initial_network(factory, 0, 1, "The network 'n'")
