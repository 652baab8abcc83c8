"""Snapshots of a network: bit for bit, and only into a network of the same tensors."""

from __future__ import annotations

import pytest
import torch
from small_networks import Residual
from soft_networks import bits, same_bits
from torch import nn

from onefold.errors import PersistentError
from onefold.explore.persistent.snapshot import Snapshot, unwrapped


def test_a_snapshot_brings_every_bit_back_and_drops_gradients() -> None:
    network = Residual()
    before, snapshot = bits(network), Snapshot.of(network)
    network(torch.randn(8, 1, 8, 8)).sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    assert not same_bits(before, bits(network))
    snapshot.put_into(network)
    assert same_bits(before, bits(network))
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_snapshot_shares_no_memory() -> None:
    network = nn.Linear(2, 3)
    snapshot = Snapshot.of(network)
    with torch.no_grad():
        network.weight.zero_()
    assert snapshot.parameters["weight"].any()


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (nn.Linear(2, 4), r"'weight' was \(3, 2\) of float32 and is now \(4, 2\)"),
        (nn.Linear(2, 3, bias=False), "'bias' was .* and is now not there"),
        (nn.Linear(2, 3, dtype=torch.float64), "is now .* of float64"),
    ],
)
def test_a_network_of_other_tensors_is_refused(other: nn.Module, sentence: str) -> None:
    with pytest.raises(PersistentError, match=sentence):
        Snapshot.of(nn.Linear(2, 3)).put_into(other)


def test_wrappers() -> None:
    network = nn.Linear(2, 3)
    assert unwrapped(network) is network
    assert unwrapped(nn.DataParallel(network)) is network
