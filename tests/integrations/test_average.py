"""Which steps are averaged, and states of an average."""

from __future__ import annotations

import math

import pytest
import torch
from loops import Net, batches

import onefold as of
from onefold.errors import SettingError
from onefold.integrations import Average
from onefold.integrations.average import RunningAverage
from onefold.integrations.loaders import Reread, order_kept


def test_shares_and_numbers_of_steps() -> None:
    assert Average().first_step(100) == 75
    assert Average(start=0).first_step(10) == 0
    assert Average(start=12).first_step(math.inf) == 12
    with pytest.raises(SettingError, match="start as a number of steps"):
        Average().first_step(math.inf)


@pytest.mark.parametrize(
    "settings", [{"start": -1}, {"start": math.inf}, {"every": 0}, {"decay": 1.0}, {"kind": "mean"}]
)
def test_settings_out_of_range(settings: dict) -> None:
    with pytest.raises(SettingError):
        Average(**settings)


def test_a_uniform_average_is_the_mean_of_its_steps() -> None:
    network, seen = Net(), []
    average = RunningAverage(network, Average(start=2), 6)
    for _ in range(6):
        with torch.no_grad():
            network.last.weight.normal_()
        average.step()
        seen.append(network.last.weight.detach().clone())
    wanted = torch.stack(seen[2:]).mean(0)
    found = average.network(batches())
    torch.testing.assert_close(found.last.weight.detach(), wanted)
    assert torch.equal(network.last.weight, seen[-1])


def test_a_state_of_another_network_is_refused() -> None:
    average = RunningAverage(Net(), Average(start=0), 2)
    average.step()
    other = RunningAverage(torch.nn.Linear(8, 3), Average(start=0), 2)
    with pytest.raises(SettingError, match="another network"):
        other.load(average.state())


def test_batch_norm_needs_batches() -> None:
    average = RunningAverage(Net(), Average(start=0), 2)
    average.step()
    with pytest.raises(SettingError, match="pass training batches"):
        average.network(None)


def test_rereading_leaves_the_generators() -> None:
    generator = torch.Generator().manual_seed(0)
    loader = batches(shuffle=True, generator=generator)
    before, common = generator.get_state(), torch.random.get_rng_state()
    reread = Reread(loader, 3)
    with order_kept(reread):
        assert len(list(reread)) == len(list(reread)) == 3
    assert torch.equal(generator.get_state(), before)
    assert torch.equal(torch.random.get_rng_state(), common)
    assert of.recalibrate(Net(), reread).norm.num_batches_tracked == 3
