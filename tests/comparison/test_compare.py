"""`compare_networks` names the broken ones, and says of the others what the default says."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import Plain, loader, members, trained
from torch import Tensor, nn

import onefold
from onefold.comparison import Relation
from onefold.errors import DataError, MembersError

UNLABELLED = [x for x, _ in loader()]


def spoilt(model: nn.Module, name: str, value: float) -> nn.Module:
    twin = copy.deepcopy(model)
    with torch.no_grad():
        dict(twin.named_parameters())[name].view(-1)[:2] = value
    return twin


def test_the_words_are_those_of_the_default() -> None:
    networks = members(Plain, 3)
    found = onefold.compare_networks(networks, UNLABELLED)
    result = onefold.merge(networks, UNLABELLED)
    assert found.evidence is not None
    assert found.evidence.finding[1:] in result.report.chosen[1]
    assert found.evidence.sentence[1:] in found.sentences[0]
    assert str(found).count("from the ensemble") >= 3
    assert found.to_dict()["evidence"]["relation"] == found.evidence.relation.value


def test_a_broken_network_is_named_with_the_place() -> None:
    networks = members(Plain, 3)
    name = next(n for n, p in networks[1].named_parameters() if p.dim() > 1)
    found = onefold.compare_networks(
        [networks[0], spoilt(networks[1], name, torch.nan), networks[2]],
        UNLABELLED,
        names=["a", "b", "c"],
    )
    assert found.broken == {
        1: f"NaN (2 of {networks[1].get_parameter(name).numel()} numbers) in {name}"
    }
    assert found.sentences[0].startswith("b is broken: NaN")
    assert found.sound == ["a", "c"]
    assert found.evidence is not None
    assert found.evidence.members == 2


class Divides(nn.Module):
    """Finite weights, but what a layer puts out is not."""

    def __init__(self, by: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.scale = nn.Linear(4, 8), nn.Parameter(torch.tensor(by))
        self.mid, self.last = nn.Tanh(), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.mid(self.first(x) / self.scale))
        return out


def test_a_layer_that_puts_out_nan_is_named() -> None:
    data = [torch.zeros(4, 4)]
    fine = [Divides(1.0), Divides(2.0)]
    with torch.no_grad():
        for model in fine:
            model.first.bias.zero_()
    bad = copy.deepcopy(fine[0])
    with torch.no_grad():
        bad.scale.zero_()  # 0 / 0
    found = onefold.compare_networks([*fine, bad], data)
    assert found.broken == {2: "NaN (32 of 32 numbers) in what mid puts out"}


def test_nothing_is_left_to_merge() -> None:
    a, b = members(Plain, 2)
    name = next(n for n, p in b.named_parameters() if p.dim() > 1)
    found = onefold.compare_networks([a, spoilt(b, name, torch.inf)], UNLABELLED)
    assert found.evidence is None
    assert found.sentences[-1] == "There is nothing to merge, as only member 0 is sound."
    assert "infinity" in found.sentences[0]
    assert found.to_dict()["evidence"] is None
    none = onefold.compare_networks([spoilt(a, name, torch.nan)] * 2, UNLABELLED)
    assert none.sentences[-1] == "There is nothing to merge, as no network is sound."


def test_neighbours_are_told_to_be_averaged() -> None:
    base = trained(Plain, 1)
    twin = copy.deepcopy(base)
    with torch.no_grad():
        for p in twin.parameters():
            p *= 1.01
    found = onefold.compare_networks([base, twin], UNLABELLED)
    assert found.evidence is not None
    assert found.evidence.relation is Relation.ORIGIN
    assert "average them without alignment" in found.sentences[0]


def test_wrong_arguments_are_one_sentence() -> None:
    a, b = members(Plain, 2)
    with pytest.raises(MembersError, match="at least 2"):
        onefold.compare_networks([a], UNLABELLED)
    with pytest.raises(MembersError, match="2 networks were given 1 names"):
        onefold.compare_networks([a, b], UNLABELLED, names=["a"])
    with pytest.raises(DataError):
        onefold.compare_networks([a, b], [])
    with pytest.raises(DataError):
        onefold.compare_networks([a, b], [torch.randn(3, 5)])
