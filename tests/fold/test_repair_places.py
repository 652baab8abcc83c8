"""Repair goes by norm: networks that run a norm or a layer at several places stay as they are."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from norm_places import Siamese, images, off, settled
from torch import Tensor, nn

from onefold.fold import merge


class Pyramid(nn.Module):
    """One head with a norm, over three levels of different sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.tower = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.Conv2d(6, 8, 3, padding=1, bias=False),
        )
        self.norm, self.head = nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        level, out = F.relu(self.stem(x)), []
        for _ in range(3):
            out.append(self.head(F.relu(self.norm(self.tower(level)))).mean((2, 3)))
            level = F.avg_pool2d(level, 2)
        return torch.cat(out, 1)


class Twice(nn.Module):
    """A residual block that runs twice, the norm under two names, and a hidden layer with a bias
    behind it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.block, self.norm = (
            nn.Linear(192, 10),
            nn.Linear(10, 10),
            nn.BatchNorm1d(10),
        )
        self.again, self.hidden, self.head = self.norm, nn.Linear(10, 7), nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        for norm in (self.norm, self.again):
            x = x + 2 * F.relu(norm(self.block(x)))
        return self.head(F.relu(self.hidden(x)))


class Volume(nn.Module):
    """Three dimensions: one norm behind two convolutions of different reach."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = nn.Conv3d(1, 5, 1), nn.Conv3d(1, 5, 3, padding=1)
        self.norm, self.head = nn.BatchNorm3d(5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, None]  # (n, 1, 3, 8, 8)
        return self.head(
            (F.relu(self.norm(self.near(x))) + F.relu(self.norm(5 * self.far(x) - 1))).mean(
                (2, 3, 4)
            )
        )


class Unrolled(nn.Module):
    """A cell without norms of batches, applied to one row after the other; instance, group and
    layer norm run at every step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.into, self.cell, self.layer = nn.Linear(24, 8), nn.Linear(8, 8), nn.LayerNorm(8)
        self.group, self.instance, self.head = (
            nn.GroupNorm(2, 8),
            nn.InstanceNorm1d(8, affine=True),
            nn.Linear(8, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        rows = x.transpose(1, 2).flatten(2)
        state = torch.zeros_like(self.into(rows[:, 0]))
        states = []
        for t in range(4):
            state = self.layer(torch.tanh(self.cell(state) + self.into(rows[:, t])))
            states.append(self.group(state))
        return self.head(self.instance(torch.stack(states, 2)).mean(2))


class Domains(nn.Module):
    """Two norms of their own statistics that share scale and shift."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.one, self.two, self.head = (
            nn.Linear(192, 8),
            nn.BatchNorm1d(8),
            nn.BatchNorm1d(8),
            nn.Linear(16, 4),
        )
        self.two.weight, self.two.bias = self.one.weight, self.one.bias

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        return self.head(torch.cat([F.relu(self.one(x)), F.relu(self.two(3 * x + 1))], 1))


KINDS = [Siamese, Pyramid, Twice, Volume, Unrolled, Domains]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("align", "repair"), [("none", "full"), ("permutation", "batchnorm")])
def test_a_norm_at_several_places_is_repaired_as_one(
    kind: type[nn.Module], align: str, repair: str
) -> None:
    data = [images()]
    network = settled(kind, data)
    result = merge(
        [network, copy.deepcopy(network)], data, align=align, repair=repair, seed=2, fold="average"
    )
    assert off(network, result.model, data) < 0.03
    assert not any("never vary" in warning for warning in result.report.warnings)


def test_every_place_counts_alike_and_the_gaps_between_their_means_are_left_out() -> None:
    data = [images()]
    network = settled(Siamese, data)
    plain = copy.deepcopy(network)
    network.norm.reset_running_stats()
    result = merge(
        [network, copy.deepcopy(network)], data, align="none", repair="full", fold="average"
    )
    torch.testing.assert_close(
        result.model.norm.running_mean, plain.norm.running_mean, rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(
        result.model.norm.running_var, plain.norm.running_var, rtol=1e-3, atol=1e-4
    )
    assert result.report.repaired["norms"] == 1


@pytest.mark.parametrize("kind", [Siamese, Twice])
def test_least_squares_leaves_layers_that_run_twice_as_they_are(kind: type[nn.Module]) -> None:
    data = list(images().split(48))
    network = settled(kind, data)
    result = merge(
        [network, copy.deepcopy(network)], data, align="permutation", fold="least_squares"
    )
    assert off(network, result.model, data) < 0.1


def test_a_second_name_of_a_repaired_norm_has_the_new_statistics() -> None:
    data = [images()]
    network = settled(Twice, data)
    network.norm.reset_running_stats()
    model = merge(
        [network, copy.deepcopy(network)], data, align="none", repair="full", fold="average"
    ).model
    assert model.norm is model.again
    assert float((model.norm.running_var - 1).abs().max()) > 0.05
