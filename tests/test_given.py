"""Which networks are of one class."""

from __future__ import annotations

import torch
from torch import fx, nn

import onefold
from onefold.given import same_class


def network(width: int = 6, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3)).eval()


def test_graphs_are_compared_by_their_code() -> None:
    """Every graph of torch.fx has a class of its own."""
    one, two = fx.symbolic_trace(network()), fx.symbolic_trace(network(seed=1))
    changed = fx.symbolic_trace(nn.Sequential(nn.Linear(4, 3)))
    assert type(one) is not type(two)
    assert same_class(one, two)
    assert not same_class(one, changed)
    assert not same_class(one, network())
    assert same_class(network(), network())


def test_graphs_are_folded_as_the_networks_that_they_are_of() -> None:
    data = [torch.randn(32, 4, generator=torch.Generator().manual_seed(0))]
    plain = [network(seed=seed) for seed in (0, 1)]
    graphs = [fx.symbolic_trace(one) for one in plain]
    folded = onefold.merge(graphs, data, align="permutation").model
    wanted = onefold.merge(plain, data, align="permutation").model.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in folded.state_dict().items())
    assert onefold.barrier(graphs[0], graphs[1], [(data[0], torch.zeros(32).long())]).losses
