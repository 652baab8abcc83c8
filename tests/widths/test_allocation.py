"""Budgets are met, the curves' needs are followed, and a search over all widths is not better."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onefold.errors import SettingError
from onefold.symmetry.axes import Fixed, Live
from onefold.widths.allocation import allocate, uniform
from onefold.widths.budget import Budget
from onefold.widths.costs import Costs, Part


def chain(*sizes: int) -> Costs:
    """Layers between groups g0, g1, ... of these sizes, from 3 inputs to 2 outputs."""
    terms = [Fixed("in", 3), *(Live(f"g{k}", n) for k, n in enumerate(sizes)), Fixed("out", 2)]
    parts = tuple(Part((b, a), 1.0, 1, 4) for a, b in itertools.pairwise(terms))
    return Costs(parts, {f"g{k}": (k, k + 1) for k in range(len(sizes))})


@given(
    st.lists(st.integers(2, 6), min_size=1, max_size=3), st.floats(0.0, 1.0), st.integers(0, 2**31)
)
def test_a_budget_is_met_and_filled(sizes: list[int], share: float, seed: int) -> None:
    costs, generator = chain(*sizes), torch.Generator().manual_seed(seed)
    most = {f"g{k}": n for k, n in enumerate(sizes)}
    rises = {
        name: torch.rand(n - 1, generator=generator).double().sort().values
        for name, n in most.items()
    }
    least = costs.total("parameters", dict.fromkeys(most, 1))
    limit = least + share * (costs.total("parameters") - least)
    widths = allocate(rises, most, costs, Budget(limit, False, "parameters"))
    assert costs.total("parameters", widths) <= limit * (1 + 1e-6)
    for name, width in widths.items():
        assert 1 <= width <= most[name]
        if width < most[name]:  # no unit fits any more
            wider = {**widths, name: width + 1}
            assert costs.total("parameters", wider) > limit * (1 - 1e-6)


def test_groups_that_are_needed_less_lose_more() -> None:
    costs, most = chain(10, 10), {"g0": 10, "g1": 10}
    rises = {"g0": torch.full((9,), 1.0), "g1": torch.full((9,), 100.0)}
    widths = allocate(rises, most, costs, Budget(0.5))
    assert widths["g0"] < widths["g1"]


def test_a_look_ahead_finds_cheap_units_behind_a_dear_one() -> None:
    costs, most = chain(10, 10), {"g0": 10, "g1": 10}
    behind = torch.tensor([3.0, *[0.0] * 8])  # one dear unit, then nothing is lost
    widths = allocate({"g0": behind, "g1": torch.full((9,), 1.0)}, most, costs, Budget(0.5))
    assert widths["g1"] == 10


@given(st.integers(0, 2**31))
def test_no_widths_at_all_are_much_better(seed: int) -> None:
    sizes, generator = (4, 5, 3), torch.Generator().manual_seed(seed)
    costs, most = chain(*sizes), {f"g{k}": n for k, n in enumerate(sizes)}
    rises = {
        name: torch.rand(n - 1, generator=generator).double().sort().values
        for name, n in most.items()
    }
    budget = Budget(0.5)

    def error(widths: dict[str, int]) -> float:
        return sum(float(own[: most[name] - widths[name]].sum()) for name, own in rises.items())

    found = error(allocate(rises, most, costs, budget))
    every = itertools.product(*(range(1, n + 1) for n in sizes))
    fitting = [
        error(widths)
        for given_ in every
        if costs.total(budget.unit, widths := dict(zip(most, given_, strict=True)))
        <= budget.limit(costs)
    ]
    assert found <= min(fitting) + 1.0  # at most one unit's worth above the best of all


def test_a_budget_below_the_least_cost_is_refused_with_that_cost() -> None:
    costs, most = chain(10, 10), {"g0": 10, "g1": 10}
    rises = {name: torch.ones(9) for name in most}
    with pytest.raises(SettingError, match=r"costs 6 multiply-adds, which is 0\.04 times"):
        allocate(rises, most, costs, Budget(0.01))


def test_uniform_widths_lie_between_one_unit_and_all() -> None:
    sizes, most = {"a": 4, "b": 10}, {"a": 8, "b": 20}
    assert uniform(sizes, most, 0.01) == {"a": 1, "b": 1}
    assert uniform(sizes, most, 0.5) == {"a": 2, "b": 5}
    assert uniform(sizes, most, 99) == most
