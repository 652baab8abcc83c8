"""The rate of every step, and batches that all processes can share."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from onefold.batches import Batch
from onefold.errors import DataError
from onefold.explore.training import Training, check_fit, usable


@pytest.mark.parametrize(
    ("sizes", "processes", "left"),
    [
        ([6, 6, 1], 1, 2),
        ([6, 6, 2], 1, 3),
        ([6, 3], 2, 1),
        ([6, 4], 2, 2),
        ([1, 1], 1, 2),
        ([1], 2, 0),
    ],
)
def test_a_batch_too_small_to_share_is_left_out(
    sizes: list[int], processes: int, left: int
) -> None:
    assert len(list(usable([Batch((torch.zeros(n, 1),)) for n in sizes], processes))) == left


def test_the_rate_rises_to_its_highest_and_falls_to_nothing() -> None:
    plan = Training(epochs=10, steps=10, lr=0.4, warm_up=2)
    rates = [plan.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.4 / 20)
    assert max(rates) == rates[19] == rates[20] == 0.4
    assert rates[:20] == sorted(rates[:20])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[60] == pytest.approx(0.2 * (1 + math.cos(math.pi / 2)))
    assert 0 < rates[99] < 0.001
    assert Training(epochs=1, steps=3, warm_up=0).rate(0) == 0.1
    assert Training(epochs=100, steps=2).rate(9) == 0.1  # five epochs of a hundred
    assert Training(epochs=100, steps=2).rate(8) < 0.1


class Pair(nn.Module):
    """Two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(x), self.layer(x)


X, Y = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3


@pytest.mark.parametrize(
    ("network", "data", "sentence"),
    [
        (nn.Linear(4, 3), [X], "the training data .* labels|labels"),
        (nn.Linear(5, 3), [(X, Y)], "cannot run|shapes"),
        (Pair(), [(X, Y)], "returns 2 outputs, and training needs one"),
        (nn.Linear(4, 2), [(X, Y)], "label"),
        (nn.Linear(4, 3), [(X, Y), (X, Y + 3)], "label"),
    ],
)
def test_data_that_do_not_fit_the_network_are_refused_before_training(
    network: nn.Module, data: list[object], sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        check_fit(network, data, "training data")


def test_data_that_fit_are_read_to_the_end_and_change_nothing() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    before = [value.clone() for value in network.state_dict().values()]
    check_fit(network, [(X, Y), (X, torch.zeros(6, dtype=torch.int64))], "training data")
    for value, old in zip(network.state_dict().values(), before, strict=True):
        assert torch.equal(value, old)
