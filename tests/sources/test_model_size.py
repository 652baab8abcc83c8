"""Networks that would take more than the machine's memory are refused before they are built."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from onefold.errors import SettingError
from onefold.sources import build_model, model_size
from onefold.sources.model_size import check_size
from onefold.sources.names import Name


@pytest.mark.parametrize(
    "name",
    ["digits?width=999999999", "digits?width=1000000", "resnet20?width=9999999", "vgg11?width=1e9"],
)
def test_what_no_memory_holds_is_refused_with_the_estimate(name: str) -> None:
    with pytest.raises(SettingError, match=r"would take .* GiB, and this machine has"):
        build_model(name)


def test_the_estimate_is_that_of_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def wide(width: int) -> nn.Module:
        return nn.Linear(width, width, bias=False)

    name = Name("wide", "wide", "", {"width": 32768})  # 4 GiB
    monkeypatch.setattr(model_size, "memory", lambda: 4 * 2**30)
    check_size(wide, name)
    monkeypatch.setattr(model_size, "memory", lambda: 4 * 2**30 - 1)
    with pytest.raises(SettingError, match="'wide' would take 4 GiB"):
        check_size(wide, name)


@pytest.mark.parametrize("name", ["digits", "smallcnn", "resnet20", "vgg11?width=0.25"])
def test_the_estimate_changes_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    checked = build_model(name).state_dict()
    monkeypatch.setattr(model_size, "memory", lambda: None)
    torch.manual_seed(3)
    plain = build_model(name).state_dict()
    assert all(torch.equal(value, plain[key]) for key, value in checked.items())
    assert all(value.device.type == "cpu" for value in checked.values())


def test_a_network_that_cannot_be_built_without_numbers_is_not_judged() -> None:
    def numbers(width: int) -> nn.Module:
        return nn.Linear(int(torch.ones(1).item()) * width, 2)

    check_size(numbers, Name("numbers", "numbers", "", {"width": 3}))
