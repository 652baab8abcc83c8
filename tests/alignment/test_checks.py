"""Networks of one class that hold other modules are refused, whatever their tensors are."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import onefold
from onefold.alignment import check_networks
from onefold.errors import MembersError

DATA = [torch.randn(16, 4) for _ in range(2)]


def network(middle: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), middle, nn.Linear(6, 3)).eval()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (nn.ReLU(), nn.Tanh()),
        (nn.Identity(), nn.GELU()),
        (nn.BatchNorm1d(6), nn.InstanceNorm1d(6, affine=True, track_running_stats=True)),
    ],
)
def test_other_modules_under_one_name_are_refused(one: nn.Module, other: nn.Module) -> None:
    pair = [network(one), network(other)]
    message = f"a {type(one).__name__} at '1' but member 1 a {type(other).__name__}; only networks"
    for call in (onefold.merge, onefold.align, onefold.compare_networks):
        with pytest.raises(MembersError, match=message):
            call(pair, DATA)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (nn.Dropout(0.1), nn.Dropout(0.5)),
        (nn.Dropout(0.1), nn.Identity()),
        (nn.LeakyReLU(0.1), nn.LeakyReLU(0.1)),
    ],
)
def test_what_does_nothing_in_eval_mode_may_differ(one: nn.Module, other: nn.Module) -> None:
    check_networks([network(one), network(other)])


def test_parametrized_modules_are_of_one_kind() -> None:
    pair = [network(nn.ReLU()) for _ in range(2)]
    for model in pair:
        parametrizations.weight_norm(model[0])
    assert type(pair[0][0]) is not type(pair[1][0])
    check_networks(pair)
