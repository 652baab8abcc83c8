"""Elimination from a regression takes out the unit whose absence costs least."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import onefold
from onefold.fold.least_squares.elimination import Regression, eliminate, eliminated
from onefold.fold.least_squares.selection import UnitSelection, alignment_of, side_by_side


def regression(x: Tensor, y: Tensor, block: int) -> Regression:
    x, y = x - x.mean(0), y - y.mean(0)
    return Regression(x.T @ x / len(x), x.T @ y / len(x), block)


def error(x: Tensor, y: Tensor, units: list[int], block: int, ridge: float) -> float:
    """E(S) by its definition, lambda m being that of all units."""
    x, y = x - x.mean(0), y - y.mean(0)
    loading = ridge * (x.square().sum(0) / len(x)).mean()
    own = x[:, [u * block + k for u in units for k in range(block)]]
    gram = own.T @ own / len(x) + loading * torch.eye(own.shape[1], dtype=x.dtype)
    v = torch.linalg.solve(gram, own.T @ y / len(x))
    return float((y - own @ v).square().sum() / len(x) + loading * v.square().sum())


@pytest.mark.slow
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(3, 7))
def test_elimination_takes_out_the_unit_whose_absence_costs_least(
    seed: int, block: int, units: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(60, units * block, generator=generator, dtype=torch.float64)
    y = x @ torch.randn(units * block, 4, generator=generator, dtype=torch.float64) + torch.randn(
        60, 4, generator=generator, dtype=torch.float64
    )
    left = list(range(units))
    for count in range(units - 1, 0, -1):
        costs = {u: error(x, y, [v for v in left if v != u], block, 0.01) for u in left}
        left.remove(min(costs, key=costs.__getitem__))
        assert (
            eliminate([regression(x, y, block)], units, count, 0.01, at_once=0.0).tolist() == left
        )


def test_of_two_units_that_do_the_same_one_stays() -> None:
    """Many go at once, and still no pair goes together; the control has no copies, and then the
    weak ones go.
    """
    x = torch.randn(500, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(80, generator=torch.Generator().manual_seed(1))
    y = x @ torch.randn(40, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    kept = eliminate([regression(x.repeat(1, 2)[:, order], y, 1)], 80, 40, 1e-6, at_once=0.5)
    assert sorted((order[kept] % 40).tolist()) == list(range(40))
    weak = torch.cat([x, 1e-3 * torch.randn_like(x)], 1)
    assert eliminate([regression(weak, y, 1)], 80, 40, 1e-6).tolist() == list(range(40))


def test_regressions_add_up() -> None:
    x = torch.randn(300, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one, two = x[:, :1], 3 * x[:, 1:2]
    first, second = regression(x, one, 1), regression(x, two, 1)
    assert eliminate([first], 3, 1, 1e-6).tolist() == [0]
    assert eliminate([second], 3, 1, 1e-6).tolist() == [1]
    assert eliminate([first, second], 3, 1, 1e-6).tolist() == [1]
    assert eliminate([first, second], 3, 2, 1e-6).tolist() == [0, 1]


def test_the_references_units_keep_their_places() -> None:
    picks = UnitSelection.placed(
        torch.tensor([0, 2, 5, 7]), 4, 0
    )  # units 0 and 2 of member 0, 1 and 3 of member 1
    assert picks.member.tolist() == [0, 1, 0, 1]
    assert picks.unit.tolist() == [0, 1, 2, 3]
    other = UnitSelection.placed(torch.tensor([0, 2, 5, 7]), 4, 1)
    assert (other.member.tolist(), other.unit.tolist()) == ([0, 1, 0, 1], [0, 1, 2, 3])
    for k in range(2):
        forward = other.map_of(k).forward
        assert sorted(forward.tolist()) == [0, 1, 2, 3]
        assert (forward[other.member == k] == other.unit[other.member == k]).all()


def test_members_side_by_side_are_their_mean_over_the_units_that_stay() -> None:
    """y = sum_k a_k (V_k h_k + c_k), each member's sum running over its own picked units."""
    models = [nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double() for _ in range(2)]
    x = torch.randn(50, 4, dtype=torch.float64)
    spec = onefold.find_symmetries(models[0], x)
    picks = UnitSelection.placed(
        torch.tensor([0, 3, 4, 7, 8, 11]), 6, 0
    )  # units 0, 3, 4 of member 0, and 1, 2, 5 of member 1
    name = next(group.name for group in spec.groups if group.size == 6)
    mapped = alignment_of({name: picks}, None, spec, 2, 0)
    states = [mapped.apply_to_state(model.state_dict(), k) for k, model in enumerate(models)]
    shares = (0.7, 0.3)
    average = {key: 0.7 * states[0][key] + 0.3 * states[1][key] for key in states[0]}
    folded = copy.deepcopy(models[0])
    folded.load_state_dict(side_by_side(states, spec, {name: picks}, shares, average))
    with torch.no_grad():
        wanted = torch.zeros(50, 3, dtype=torch.float64)
        for share, model, own in zip(shares, models, ([0, 3, 4], [1, 2, 5]), strict=True):
            wanted += share * (
                model[1](model[0](x))[:, own] @ model[2].weight[:, own].T + model[2].bias
            )
        torch.testing.assert_close(folded(x), wanted)


def test_costs_by_hand_of_units_that_are_orthogonal() -> None:
    """With X'X / n = I and a ridge of 0 the absence of unit j costs |V_j|^2."""
    cross = torch.tensor([[3.0, 0.0], [1.0, 2.0], [0.0, 0.5], [2.0, 2.0]], dtype=torch.float64)
    reader = Regression(torch.eye(4, dtype=torch.float64), cross, 1)  # costs 9, 5, 0.25, 8
    for count, stays in ((3, [0, 1, 3]), (2, [0, 3]), (1, [0]), (0, [])):
        assert eliminate([reader], 4, count, 0.0).tolist() == stays
    blocks = Regression(torch.eye(4, dtype=torch.float64), cross, 2)  # costs 14 and 8.25
    assert eliminate([blocks], 2, 1, 0.0).tolist() == [0]


def test_nothing_is_taken_out_if_all_are_to_stay_or_nothing_reads() -> None:
    reader = Regression(torch.eye(3, dtype=torch.float64), torch.ones(3, 1).double(), 1)
    assert eliminate([reader], 3, 3, 0.1).tolist() == [0, 1, 2]
    assert eliminate([], 3, 2, 0.1).tolist() == [0, 1]


@pytest.mark.parametrize("at_once", [0.0, 0.1, 0.3])
def test_units_are_judged_anew_after_each_step(at_once: float) -> None:
    """y = x_0 - x_1 with x_0 = s + n and x_1 = n, |s| = 1 and |n| = 3: x_0 costs 1, but 0.1 once
    x_1, which costs 0.9, is gone. Three others cost 0.95 each.
    """
    gram = torch.eye(5, dtype=torch.float64)
    gram[:2, :2] = torch.tensor([[10.0, 9.0], [9.0, 9.0]])
    cross = torch.zeros(5, 4, dtype=torch.float64)
    cross[0, 0] = 1.0
    cross[[2, 3, 4], [1, 2, 3]] = 0.95**0.5
    reader = Regression(gram, cross, 1)
    assert eliminate([reader], 5, 4, 0.0, at_once=at_once).tolist() == [0, 2, 3, 4]
    assert eliminate([reader], 5, 3, 0.0, at_once=at_once).tolist() == [2, 3, 4]


@pytest.mark.parametrize("block", [1, 2, 3])
def test_units_that_go_in_one_step_go_one_by_one(block: int) -> None:
    generator = torch.Generator().manual_seed(block)
    both = []
    for outputs in (4, 2):
        x = torch.randn(80, 8 * block, generator=generator, dtype=torch.float64)
        weight = torch.randn(8 * block, outputs, generator=generator, dtype=torch.float64)
        noise = torch.randn(80, outputs, generator=generator, dtype=torch.float64)
        both.append(regression(x, x @ weight + noise, block))
    given = [(one.gram.clone(), one.cross.clone()) for one in both]
    together = eliminate(both, 8, 4, 0.01, at_once=0.5)  # four of eight at once
    assert together.tolist() == eliminate(both, 8, 4, 0.01, at_once=0.0).tolist()
    for one, (gram, cross) in zip(both, given, strict=True):
        assert torch.equal(one.gram, gram)
        assert torch.equal(one.cross, cross)


def test_units_that_stay_are_never_taken_out() -> None:
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(300, 10, generator=generator, dtype=torch.float64)
    rows[:, 3] = rows[:, 7]  # one of the two is needless
    gram, cross = rows.T @ rows / 300, rows.T @ torch.randn(300, 4).double() / 300
    stay = torch.zeros(10, dtype=torch.bool)
    stay[[3, 4, 7]] = True
    regression = [Regression(gram, cross, 1)]
    free = eliminated(regression, 10, 1, 1e-4)
    held = eliminated(regression, 10, 3, 1e-4, at_once=0.9, stay=stay)
    assert held.left.tolist() == [3, 4, 7]
    assert sorted(held.out.tolist()) == [0, 1, 2, 5, 6, 8, 9]
    assert free.out[0] in (3, 7)
