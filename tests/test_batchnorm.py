"""Folding of batch norms keeps the function; re-estimation gives the true statistics, leaves flags
alone and survives a failing batch.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from onefold.batchnorm import fold_norms, norms_of, reestimate
from onefold.errors import DataError
from onefold.layers import Layer, Norm


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    for norm in norms_of(module):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return module.double().eval()


def layer(kind: str, *, bias: bool, weight_axis: int = 0, groups: int = 1) -> Layer:
    norm = Norm("norm", "1.weight", "1.bias", "1.running_mean", "1.running_var", 1e-5)
    return Layer(
        "layer",
        kind,
        "0.weight",
        "0.bias" if bias else None,
        weight_axis,
        "x",
        "norm",
        1,
        groups,
        norm,
    )


@pytest.mark.parametrize(
    ("first", "described", "shape"),
    [
        (nn.Conv2d(3, 4, 3, bias=False), layer("conv", bias=False), (2, 3, 6, 6)),
        (nn.Conv2d(4, 6, 3, groups=2), layer("conv", bias=True, groups=2), (2, 4, 6, 6)),
        (
            nn.ConvTranspose2d(4, 6, 2),
            layer("conv_transpose", bias=True, weight_axis=1),
            (2, 4, 5, 5),
        ),
        (
            nn.ConvTranspose2d(4, 6, 2, groups=2),
            layer("conv_transpose", bias=True, weight_axis=1, groups=2),
            (2, 4, 5, 5),
        ),
    ],
)
def test_folding_keeps_the_function(
    first: nn.Module, described: Layer, shape: tuple[int, ...]
) -> None:
    channels = first.out_channels
    network = randomised(nn.Sequential(first, nn.BatchNorm2d(channels)))
    x = torch.randn(shape, dtype=torch.float64)
    expected = network(x)
    state = network.state_dict()
    before = {k: v.clone() for k, v in state.items()}
    folded = fold_norms(state, [described])
    assert all(torch.equal(before[k], state[k]) for k in state), "the input state was modified"
    network.load_state_dict(folded)
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(network[1].weight.square(), network[1].running_var + 1e-5)
    assert (network[1].weight > 0).all()
    if first.bias is not None:
        assert not network[0].bias.any()


def test_folding_leaves_shared_weights_and_layers_without_a_norm_alone() -> None:
    network = randomised(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    state = network.state_dict()
    shared = Layer(**{**layer("conv", bias=True).__dict__, "shared": True})
    bare = Layer(**{**layer("conv", bias=True).__dict__, "norm": None})
    for described in (shared, bare):
        assert all(torch.equal(v, state[k]) for k, v in fold_norms(state, [described]).items())


def test_reestimation_gives_the_statistics_of_all_batches() -> None:
    network = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).double()
    network[1].momentum = 0.3
    network.train()
    data = [torch.randn(16, 5, dtype=torch.float64) for _ in range(4)]
    weights = [p.clone() for p in network.parameters()]
    assert reestimate(network, data) == 1
    features = torch.stack([network[0](x) for x in data])
    torch.testing.assert_close(network[1].running_mean, features.mean((0, 1)))
    torch.testing.assert_close(
        network[1].running_var, torch.stack([f.var(0) for f in features]).mean(0)
    )
    assert network[1].momentum == 0.3
    assert all(m.training for m in network.modules())
    assert all(torch.equal(a, b) for a, b in zip(weights, network.parameters(), strict=True))
    assert reestimate(nn.Linear(2, 2), data) == 0


def test_a_failing_batch_leaves_the_old_statistics() -> None:
    network = randomised(nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)))
    before = network[1].running_mean.clone()
    with pytest.raises(DataError, match="cannot run on batch 1"):
        reestimate(
            network,
            [torch.randn(8, 5, dtype=torch.float64), torch.randn(8, 4, dtype=torch.float64)],
        )
    assert torch.equal(network[1].running_mean, before)
    assert not network[1].training


def test_an_empty_loader_and_a_used_up_iterator_are_refused() -> None:
    network = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))
    with pytest.raises(DataError, match="yielded no batch"):
        reestimate(network, [])
    with pytest.raises(DataError, match="can be read only once"):
        reestimate(network, iter([torch.zeros(2, 5)]))
