"""Networks that are scored beside one another, as a table, as sentences and as plain data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from small_networks import Plain, loader, members
from torch import nn

from onefold.errors import DataError
from onefold.result_reports.networks import score_networks


class Named(list[Any]):
    class_names = ("cat", "dog", "owl", "elk")


@pytest.fixture(scope="module")
def networks() -> list[nn.Module]:
    return members(Plain, 3)


@pytest.fixture(scope="module")
def data() -> Named:
    return Named(loader(60))


def test_several_are_held_against_the_best(networks: list[nn.Module], data: Named) -> None:
    found = score_networks(networks, "abc", data)
    names = [row.name for row in found.candidates]
    assert names == ["a", "b", "c", "ensemble of 3"]
    assert found.best == names[found.evaluation.best]
    assert f"difference to {found.best} (points)" in found.table.headings
    classes, best, agreement = found.sentences
    assert classes == "Classes: 0 = cat, 1 = dog, 2 = owl, 3 = elk"
    assert best.startswith(f"The best of them ({found.best}): ")
    assert all(name in best for name in names)
    assert agreement.startswith("The networks agree with one another on ")


def test_one_alone_has_no_ensemble_and_nothing_to_be_held_against(
    networks: list[nn.Module], data: Named
) -> None:
    found = score_networks(networks[:1], ["a"], list(data))
    assert [row.name for row in found.candidates] == ["a"]
    assert found.sentences == []
    assert not any("difference" in heading for heading in found.table.headings)


def test_costs_are_in_units_of_the_plain_network(networks: list[nn.Module], data: Named) -> None:
    pair = nn.ModuleList(networks[:2])
    for plain, costs in ((None, [1, 1, 2]), (pair, [0.5, 0.5, 1])):
        found = score_networks(networks[:2], "ab", data, plain=plain)
        assert [row.cost for row in found.candidates] == costs


@pytest.mark.parametrize("count", [1, 3])
def test_plain_data_is_ready_for_json(networks: list[nn.Module], data: Named, count: int) -> None:
    found = score_networks(networks[:count], "abc"[:count], data)
    read = json.loads(json.dumps(found.data()))
    assert read["classes"] == list(Named.class_names)
    assert len(read["members"]) == count
    assert len(read["less the best, paired"]) == len(found.candidates)
    assert "classes" not in score_networks(networks[:1], "a", list(data)).data()


def test_data_without_labels_are_refused(networks: list[nn.Module], data: Named) -> None:
    with pytest.raises(DataError, match="labels"):
        score_networks(networks, "abc", [inputs for inputs, _ in data])
