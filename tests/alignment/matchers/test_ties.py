"""What the data leave open is decided by likeness and not by rounding: tied correlations,
directions without variance.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import onefold
from onefold.alignment.matchers.cca import CCA
from onefold.alignment.matchers.dense import resolved
from onefold.alignment.matchers.permutation import Permutation
from onefold.alignment.matchers.procrustes import Procrustes
from onefold.alignment.matchers.rotation import Rotation
from onefold.alignment.matchers.transport import Transport
from onefold.alignment.moments import Moments


def moments_of(own: Tensor, other: Tensor, batches: int = 3) -> Moments:
    """Moments of two members, over several batches."""
    found = Moments(2, own.shape[1], 0)
    for a, b in zip(own.chunk(batches), other.chunk(batches), strict=True):
        found.update([a, b])
    return found


def tied(seed: int = 0) -> Tensor:
    """Eight units, three of them active on one example alone, each with its own strength."""
    x = torch.randn(90, 8, generator=torch.Generator().manual_seed(seed))
    x[:, [1, 4, 6]] = 0.0
    x[37, [1, 4, 6]] = torch.tensor([0.3, 5.0, 1.7])
    return x


@pytest.mark.parametrize("matcher", [Permutation(), Transport()])
@pytest.mark.parametrize("seed", range(5))
def test_units_of_one_example_find_the_ones_of_their_own_strength(
    matcher: Permutation | Transport, seed: int
) -> None:
    features = tied(seed)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed + 100))
    for theirs, wanted in ((features, torch.arange(8)), (features[:, order], order.argsort())):
        found = matcher.match(moments_of(features, theirs), 1).map.forward
        assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    "matcher",
    [
        Procrustes(prior=0.0),
        Rotation(),
        CCA(regularization=0.1, prior=0.0),
        Procrustes(prior=0.0, fixes_mean=True),
    ],
)
def test_features_of_few_dimensions_keep_their_means(matcher: Procrustes | CCA) -> None:
    generator = torch.Generator().manual_seed(1)
    spanned = torch.randn(200, 3, generator=generator) @ torch.randn(3, 10, generator=generator)
    features = (spanned + 4 * torch.randn(10, generator=generator)).double()
    forward = matcher.match(moments_of(features, features), 1).map.forward
    assert torch.allclose(forward, torch.eye(10, dtype=torch.float64), atol=1e-5)


def test_where_the_data_decide_nothing_is_changed() -> None:
    matrix = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    u, s, vh = torch.linalg.svd(matrix)
    assert resolved(u, s, vh, lambda: torch.eye(6)) is u


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 3),
    )


def test_several_batches_leave_identical_networks_as_they_are() -> None:
    """Batches differ from one another, but what has the wanted statistics over all of them is not
    corrected by those of one.
    """
    generator = torch.Generator().manual_seed(3)
    data = [torch.randn(16, 3, 6, 6, generator=generator) * (1 + k) for k in range(3)]
    model = net().train()
    with torch.no_grad():
        for _ in range(40):
            for x in data:
                model(x + 0.3)
    model.eval()
    result = onefold.merge(
        [model, copy.deepcopy(model)], data, align="permutation", repair="full", fold="average"
    )
    assert result.report.repaired["settled"] == 2
    with torch.no_grad():
        for x in data:
            assert float((model(x) - result.model(x)).abs().max()) < 1e-5 * float(
                model(x).abs().max()
            )


def test_what_differs_from_the_first_layer_on_is_corrected_as_before() -> None:
    torch.manual_seed(5)
    models = [net().eval() for _ in range(2)]
    for k, model in enumerate(models):
        torch.manual_seed(k)
        nn.init.normal_(model[0].weight, std=0.3)
        nn.init.normal_(model[2].weight, std=0.3)
    data = [torch.randn(64, 3, 6, 6) for _ in range(2)]
    repaired = onefold.merge(
        models, data, align="permutation", repair="full", fold="average"
    ).report.repaired
    assert repaired["settled"] == 0
    assert repaired["norms"] == 1
    assert repaired["layers"] == 1
