"""Norms behind a layer have the members' means and deviations as targets, whether their features
may move or not.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import onefold


class Ordered(nn.Module):
    """Channels that stay in place behind the norm: a sort along them."""

    def __init__(self) -> None:
        super().__init__()
        self.moves, self.layer, self.norm, self.head = (
            nn.Linear(6, 8),
            nn.Linear(8, 5),
            nn.BatchNorm1d(5),
            nn.Linear(5, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.layer(torch.relu(self.moves(x)))).sort(1).values)


class Outermost(nn.Module):
    """The norm is what the network puts out."""

    def __init__(self) -> None:
        super().__init__()
        self.moves, self.layer, self.norm = nn.Linear(6, 8), nn.Linear(8, 4), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(torch.relu(self.moves(x))))


class Split(nn.Module):
    """Channels cut with a stride."""

    def __init__(self) -> None:
        super().__init__()
        self.moves, self.layer, self.norm, self.head = (
            nn.Conv1d(6, 8, 1),
            nn.Conv1d(8, 6, 1),
            nn.BatchNorm1d(6),
            nn.Linear(3, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.layer(torch.relu(self.moves(x[..., None]))))
        return self.head(h[:, ::2].mean(-1))


def trained(kind: type[nn.Module]) -> nn.Module:
    """With statistics of other data than those of the merge."""
    torch.manual_seed(0)
    model = kind().train()
    with torch.no_grad():
        for _ in range(30):
            model(2.0 * torch.randn(64, 6) + 0.5)
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Ordered, Outermost, Split])
@pytest.mark.parametrize("align", ["none", "permutation"])
@pytest.mark.parametrize("repair", ["full", "batchnorm"])
def test_identical_networks_keep_their_function(
    kind: type[nn.Module], align: str, repair: str
) -> None:
    model, data = (
        trained(kind),
        [torch.randn(64, 6, generator=torch.Generator().manual_seed(k)) for k in range(2)],
    )
    if align == "none" and repair == "batchnorm":
        pytest.skip("without an alignment this estimates the statistics of the data, as was asked")
    result = onefold.merge(
        [model, copy.deepcopy(model)], data, align=align, repair=repair, fold="average"
    )
    with torch.no_grad():
        for x in data:
            assert float((model(x) - result.model(x)).abs().max()) < 1e-5 * float(
                model(x).abs().max()
            )
