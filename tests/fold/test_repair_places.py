"""Repair goes by norm: networks that run a norm or a layer at several places, folded with copies of
themselves, stay as they are.
"""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onefold.batchnorm import reestimate
from onefold.errors import DataError
from onefold.fold import merge, recalibrate, repair
from onefold.symmetry import find_symmetries


def images(count: int = 96, seed: int = 0) -> Tensor:
    """Pictures (count, 3, 8, 8) that differ in brightness."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 8, 8, generator=generator) + torch.randn(
        count, 1, 1, 1, generator=generator
    )


class Siamese(nn.Module):
    """Two branches of different scale, one norm."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 6, 1)
        self.norm, self.head = nn.BatchNorm2d(6), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        both = [F.relu(self.norm(y)).mean((2, 3)) for y in (self.left(x), 4 * self.right(x) + 2)]
        return self.head(torch.cat(both, 1))


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


def settled(kind: type[nn.Module], data: list[Tensor]) -> nn.Module:
    """A network of random scales whose statistics are those that training on `data` would have
    left.
    """
    torch.manual_seed(1)
    network = kind()
    for norm in (m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)):
        with torch.no_grad():
            norm.weight.copy_(torch.randn(norm.num_features))
            norm.bias.copy_(torch.randn(norm.num_features))
    reestimate(network, data)
    return network.eval()


def off(network: nn.Module, other: nn.Module, data: list[Tensor]) -> float:
    """The largest difference of outputs, in shares of the largest output."""
    with torch.no_grad():
        return max(
            float((network(x) - other(x)).abs().max() / network(x).abs().max()) for x in data
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("align", "repair"), [("none", "full"), ("permutation", "batchnorm")])
def test_a_norm_at_several_places_is_repaired_as_one(
    kind: type[nn.Module], align: str, repair: str
) -> None:
    data = [images()]
    network = settled(kind, data)
    result = merge([network, copy.deepcopy(network)], data, align=align, repair=repair, seed=2)
    assert off(network, result.model, data) < 0.03
    assert not any("never vary" in warning for warning in result.report.warnings)


def test_every_place_counts_alike_and_the_gaps_between_their_means_are_left_out() -> None:
    data = [images()]
    network = settled(Siamese, data)
    plain = copy.deepcopy(network)
    network.norm.reset_running_stats()
    result = merge([network, copy.deepcopy(network)], data, align="none", repair="full")
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
    model = merge([network, copy.deepcopy(network)], data, align="none", repair="full").model
    assert model.norm is model.again
    assert float((model.norm.running_var - 1).abs().max()) > 0.05


class Pooled(nn.Module):
    """Convolution and norm, global pooling, and a norm of one value for each example."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.hidden = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.Linear(6, 8),
        )
        self.behind, self.head = nn.BatchNorm1d(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(
            F.relu(self.behind(self.hidden(F.relu(self.norm(self.conv(x))).mean((2, 3)))))
        )


class Context(nn.Module):
    """Segmentation with the picture's mean as context, through a norm (1 x 1 values for each
    example).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.context = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 1, bias=False)
        self.norm, self.head = nn.BatchNorm2d(6), nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        around = F.relu(self.norm(self.context(F.adaptive_avg_pool2d(x, 1)))).expand_as(x)
        return self.head(torch.cat([x, around], 1))


class Tabular(nn.Module):
    """Hidden layers without any norm."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(192, 12), nn.Linear(12, 9), nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.two(F.relu(self.one(x.flatten(1))))))


@pytest.mark.parametrize(("kind", "batch"), [(Pooled, 1), (Context, 4), (Tabular, 1), (Siamese, 2)])
def test_small_batches_give_the_statistics_of_all_of_the_data(
    kind: type[nn.Module], batch: int
) -> None:
    pictures = images(24)
    network = settled(kind, [pictures])
    result = merge(
        [network, copy.deepcopy(network)], list(pictures.split(batch)), align="none", repair="full"
    )
    assert off(network, result.model, [pictures]) < (0.1 if kind is Siamese else 0.01)
    assert not any("never vary" in warning for warning in result.report.warnings)


@pytest.mark.parametrize("kind", [Pooled, Context, Siamese])
def test_recalibration_pools_over_small_batches_of_any_size(kind: type[nn.Module]) -> None:
    pictures = images()
    network = settled(kind, [pictures])
    uneven = list(pictures.split([1, 2, 1, 5, 7, 3, 1, 4, 6, 1, 1, 7, 7, 7, 7, 7, 7, 7, 7, 7, 1]))
    again = recalibrate(copy.deepcopy(network), uneven)
    for own, other in zip(again.modules(), network.modules(), strict=True):
        if isinstance(own, nn.modules.batchnorm._BatchNorm):
            torch.testing.assert_close(own.running_mean, other.running_mean, rtol=0.03, atol=0.03)
            torch.testing.assert_close(own.running_var, other.running_var, rtol=0.06, atol=0.03)
    assert not again.training


def test_a_short_last_batch_is_left_out_and_larger_ones_are_averaged_as_torch_does() -> None:
    pictures = images(129)
    network = settled(Pooled, [pictures])
    whole, short = (
        recalibrate(copy.deepcopy(network), list(x.split(64))) for x in (pictures[:128], pictures)
    )
    for name, value in whole.state_dict().items():
        assert torch.equal(value, short.state_dict()[name]), name
    plain = copy.deepcopy(network).train()
    for norm in (plain.norm, plain.behind):
        norm.momentum = None
        norm.reset_running_stats()
    with torch.no_grad():
        for batch in pictures[:128].split(64):
            plain(batch)
    assert torch.equal(plain.behind.running_var, whole.behind.running_var)
    merged = [
        merge([network, network], list(x.split(64)), align="none", repair="full").model
        for x in (pictures[:128], pictures)
    ]
    assert off(*merged, [pictures]) < 0.05


def test_one_value_in_all_of_the_data_is_refused_in_a_sentence() -> None:
    network = settled(Pooled, [images()])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(
        DataError, match=r"'behind'.* one value of each channel .*pass more examples"
    ):
        recalibrate(network, [images(1)])
    with pytest.raises(
        DataError, match=r"'behind'.* one value of each channel .*pass more examples"
    ):
        repair(network, [images(1)], find_symmetries(network, images(2)), {})
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
