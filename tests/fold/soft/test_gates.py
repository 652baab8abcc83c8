"""Hard-concrete gates: where they are exactly 0 or 1, what their penalty counts, how rows are
normalised, and what their gradients let through.
"""

from __future__ import annotations

import copy
import io
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from onefold.fold.soft.gates import (
    BETA,
    EPS,
    GAMMA,
    LEAST,
    SPREAD,
    ZETA,
    Gates,
    deterministic,
    normalize,
    probability_open,
    sample,
    with_bounded_gradient,
)


@pytest.mark.parametrize("members", [2, 5, 40])
@pytest.mark.parametrize("seed", [0, 7])
def test_gates_start_nearly_equal_and_not_quite(members: int, seed: int) -> None:
    table = Gates(2000 // members, members, seed=seed)
    log_alpha = table.log_alpha.detach()
    assert 0.009 < float(log_alpha.std()) < 0.011
    assert abs(float(log_alpha.mean())) < 0.001
    assert len(log_alpha.unique()) > 1900  # none the same, so that no two members are tied
    shares = table().detach()
    torch.testing.assert_close(shares, torch.full_like(shares, 1 / members), rtol=0.03, atol=0)
    plain = Gates(50, members, normalized=False, seed=seed)().detach()
    torch.testing.assert_close(plain, torch.full_like(plain, 0.5), rtol=0, atol=0.015)


def test_gates_are_normalised_and_drawn_from_seed_0_unless_something_else_is_said() -> None:
    assert torch.equal(Gates(3, 2).log_alpha, Gates(3, 2, normalized=True, seed=0).log_alpha)
    assert not torch.equal(Gates(3, 2).log_alpha, Gates(3, 2, seed=1).log_alpha)
    torch.testing.assert_close(Gates(3, 2)().sum(-1), torch.ones(3))


def test_where_no_gate_may_be_open_the_penalty_is_zero() -> None:
    table = Gates(2, 3)
    table.alive[:] = False
    assert table.penalty().item() == 0.0


def test_gates_of_one_member_are_fully_open_from_the_start() -> None:
    assert Gates(3, 1)().tolist() == [[1.0]] * 3


def test_the_constants_are_those_of_the_paper() -> None:
    assert (pytest.approx(2 / 3), -0.1, 1.1) == (BETA, GAMMA, ZETA)
    assert (EPS, LEAST, SPREAD) == (1e-6, 1e-3, 0.01)
    edge = math.log(-GAMMA / (ZETA - GAMMA) / (1 + GAMMA / (ZETA - GAMMA)))
    assert edge == pytest.approx(-2.398, abs=1e-3)
    assert deterministic(torch.tensor([edge - 1e-3, edge + 1e-3])).tolist() == [
        0.0,
        pytest.approx(1e-3 * 1.2 / 12 * 11 / 12, rel=0.05),
    ]


@pytest.mark.parametrize(("log_alpha", "noise"), [(0.0, 0.5), (0.7, 0.4), (-0.9, 0.6), (0.2, 0.31)])
def test_a_gate_with_noise_is_the_stretched_sigmoid(log_alpha: float, noise: float) -> None:
    s = 1 / (1 + math.exp(-(math.log(noise) - math.log(1 - noise) + log_alpha) / (2 / 3)))
    found = sample(torch.tensor([log_alpha]).double(), torch.tensor([noise]).double())
    assert found.item() == pytest.approx(min(1.0, max(0.0, 1.2 * s - 0.1)), abs=1e-5)


def test_the_chance_of_an_open_gate() -> None:
    assert probability_open(torch.tensor(0.4).double()).item() == pytest.approx(
        1 / (1 + math.exp(-(0.4 + 2 / 3 * math.log(11))))
    )


def test_noise_at_either_end_gives_finite_gates() -> None:
    found = sample(torch.tensor([0.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double())
    assert found.tolist() == [0.0, 1.0]


def gates(rows: int = 3, members: int = 4, **arguments: object) -> Gates:
    return Gates(rows, members, **arguments)  # type: ignore[arg-type]


def filled(log_alpha: list[list[float]], **arguments: object) -> Gates:
    table = gates(len(log_alpha), len(log_alpha[0]), **arguments)
    table.log_alpha.data.copy_(torch.tensor(log_alpha))
    return table


finite = st.floats(-30, 30, width=32)
tables = st.integers(1, 5).flatmap(
    lambda k: st.lists(st.lists(finite, min_size=k, max_size=k), min_size=1, max_size=4)
)


def test_gates_without_noise_are_exactly_shut_and_exactly_open_beyond_2_4() -> None:
    assert deterministic(torch.tensor([-50.0, -5.0, -2.4])).tolist() == [0.0, 0.0, 0.0]
    assert deterministic(torch.tensor([2.4, 5.0, 50.0])).tolist() == [1.0, 1.0, 1.0]
    between = deterministic(torch.tensor([-2.39, 0.0, 2.39]))
    assert bool(((between > 0) & (between < 1)).all())
    assert between[1].item() == pytest.approx(0.5)


@settings(deadline=None)
@given(st.lists(finite, min_size=2, max_size=20))
def test_gates_without_noise_rise_with_log_alpha(values: list[float]) -> None:
    ordered = deterministic(torch.tensor(sorted(values)))
    assert bool((ordered.diff() >= 0).all())
    assert bool(((ordered >= 0) & (ordered <= 1)).all())


@settings(deadline=None)
@given(finite, st.floats(0, 1, exclude_max=True, width=32))
def test_gates_with_noise_stay_finite_and_between_0_and_1(log_alpha: float, noise: float) -> None:
    z = sample(torch.tensor([log_alpha]), torch.tensor([noise]))
    assert bool(z.isfinite().all())
    assert 0 <= z.item() <= 1


@pytest.mark.parametrize("log_alpha", [-3.0, -1.6, -0.5, 0.0, 1.0, 2.5])
def test_the_penalty_is_the_frequency_of_open_gates(log_alpha: float) -> None:
    draws = 200_000
    noise = torch.rand(draws, generator=torch.Generator().manual_seed(0))
    frequency = (sample(torch.full((draws,), log_alpha), noise) != 0).double().mean().item()
    probability = probability_open(torch.tensor(log_alpha)).item()
    deviation = (probability * (1 - probability) / draws) ** 0.5
    assert abs(frequency - probability) < 4 * deviation + 2e-6
    table = gates()
    table.log_alpha.data.fill_(log_alpha)
    assert table.penalty().item() == pytest.approx(probability, abs=1e-6)


def test_the_penalty_is_a_mean_over_the_gates_that_may_be_open() -> None:
    table = filled([[0.0, 3.0], [1.0, -1.0]])
    table.alive[0, 1] = table.alive[1, 0] = False
    expected = probability_open(torch.tensor([0.0, -1.0])).mean()
    torch.testing.assert_close(table.penalty().detach(), expected)
    table.penalty().backward()
    assert table.log_alpha.grad is not None
    assert table.log_alpha.grad[0, 1] == 0
    assert table.log_alpha.grad[1, 0] == 0
    assert bool((table.log_alpha.grad[[0, 1], [0, 1]] > 0).all())


@settings(deadline=None)
@given(tables, st.booleans(), st.integers(0, 2**31))
def test_normalised_rows_sum_to_one_whatever_log_alpha_is(
    rows: list[list[float]], stochastic: bool, seed: int
) -> None:
    found = filled(rows, seed=seed)(stochastic)
    assert bool(found.isfinite().all())
    assert bool((found >= 0).all())
    torch.testing.assert_close(found.sum(-1), torch.ones(len(rows)), atol=1e-6, rtol=0)


def test_normalising_divides_by_the_sum_and_keeps_zeros() -> None:
    table = filled([[0.0, -5.0, 5.0]])
    z = deterministic(table.log_alpha.detach())
    torch.testing.assert_close(table().detach(), z / z.sum(-1, keepdim=True))
    assert table()[0, 1].item() == 0.0
    torch.testing.assert_close(
        filled([[0.0, -5.0, 5.0]], normalized=False)().detach(), torch.tensor([[0.5, 0.0, 1.0]])
    )


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("normalised", [False, True])
def test_a_row_of_shut_gates_becomes_one_hot_at_its_largest_log_alpha(
    stochastic: bool, normalised: bool
) -> None:
    table = filled(
        [[-60.0, -50.0, -70.0], [-50.0, -60.0, -70.0], [3.0, -60.0, 3.0]], normalized=normalised
    )
    for training in (True, False):
        found = table.train(training)(stochastic)
        assert found[:2].tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
        assert found[2, 1].item() == 0.0


def test_the_one_hot_guard_never_picks_a_masked_member() -> None:
    table = filled([[-60.0, -50.0, -70.0]])
    table.alive[0, 1] = False
    assert table().tolist() == [[1.0, 0.0, 0.0]]


def test_the_guard_starts_below_a_thousandth() -> None:
    alive, log_alpha = torch.ones(1, 2, dtype=torch.bool), torch.tensor([[-2.0, -2.3]])
    assert normalize(torch.tensor([[0.0004, 0.0004]]), log_alpha, alive).tolist() == [[1.0, 0.0]]
    assert normalize(torch.tensor([[0.0006, 0.0006]]), log_alpha, alive).tolist() == [[0.5, 0.5]]


@settings(deadline=None)
@given(tables, st.booleans(), st.data())
def test_masked_members_get_exactly_zero_and_no_gradient(
    rows: list[list[float]], stochastic: bool, data: st.DataObject
) -> None:
    table = filled(rows)
    for row in table.alive:  # at least one stays
        kept = data.draw(st.integers(0, len(row) - 1))
        dead = data.draw(st.lists(st.booleans(), min_size=len(row), max_size=len(row)))
        row.copy_(~torch.tensor(dead) | (torch.arange(len(row)) == kept))
    found = table(stochastic)
    assert bool((found[~table.alive] == 0).all())
    torch.testing.assert_close(found.sum(-1), torch.ones(len(rows)), atol=1e-6, rtol=0)
    (found * torch.randn_like(found)).sum().backward()
    assert table.log_alpha.grad is not None
    assert bool((table.log_alpha.grad[~table.alive] == 0).all())


def test_a_masked_member_of_infinite_log_alpha_spoils_neither_gates_nor_gradients() -> None:
    table = filled([[0.5, float("nan"), 0.1]])
    table.alive[0, 1] = False
    found = table()
    assert found[0, 1].item() == 0
    assert bool(found.isfinite().all())


def passed_back(gradient: Tensor) -> Tensor:
    """What reaches log_alpha from this gradient of the gates' own input."""
    value = torch.zeros_like(gradient, requires_grad=True)
    with_bounded_gradient(value).backward(gradient)
    assert value.grad is not None
    return value.grad


def test_the_gradient_guard_divides_by_the_largest_element_and_not_by_a_norm() -> None:
    assert passed_back(torch.tensor([3.0, -4.0, 0.5])).tolist() == [0.75, -1.0, 0.125]
    small = torch.tensor([0.8, -0.7, 0.9])  # their L2 norm is above 1, none of them is
    assert torch.equal(passed_back(small), small)
    huge = torch.tensor([1e30, -2e30, 1e20])  # squares overflow in float32
    torch.testing.assert_close(passed_back(huge), torch.tensor([0.5, -1.0, 5e-11]))


def test_the_gradient_guard_zeroes_what_is_not_finite_and_keeps_the_rest() -> None:
    inf, nan = float("inf"), float("nan")
    assert passed_back(torch.tensor([inf, 0.5, nan, -inf, -0.25])).tolist() == [
        0.0,
        0.5,
        0.0,
        0.0,
        -0.25,
    ]
    assert passed_back(torch.tensor([nan, inf])).tolist() == [0.0, 0.0]


@settings(deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=8))
def test_guarded_gradients_are_finite_and_at_most_one(values: list[float]) -> None:
    found = passed_back(torch.tensor(values))
    assert bool(found.isfinite().all())
    assert found.abs().max().item() <= 1
    assert bool((found.sign() * torch.tensor(values).nan_to_num(0).sign() >= 0).all())


def test_infinite_losses_leave_the_gradients_of_a_table_finite() -> None:
    table = gates()
    (table() * torch.tensor([1.0, float("inf"), -1.0, 1e38])).sum().backward()
    assert table.log_alpha.grad is not None
    assert bool(table.log_alpha.grad.isfinite().all())


def test_the_gradient_is_that_of_the_equation() -> None:
    table = filled([[0.3, -0.4, 1.1]])
    weights = torch.tensor([[0.2, -0.3, 0.1]])
    (table() * weights).sum().backward()
    twin = table.log_alpha.detach().double().requires_grad_()
    z = (torch.sigmoid(twin) * 1.2 - 0.1).clamp(0, 1)
    (z / z.sum() * weights).sum().backward()
    torch.testing.assert_close(table.log_alpha.grad.double(), twin.grad, atol=1e-7, rtol=1e-5)


def test_the_state_dict_restores_the_noise_so_that_the_next_draws_are_equal() -> None:
    table = gates(seed=1)
    table(True)
    file = io.BytesIO()
    torch.save(table.state_dict(), file)
    expected = [table(True) for _ in range(3)]
    file.seek(0)
    other = gates(seed=2)
    assert not torch.equal(other(True), expected[0])
    other.load_state_dict(torch.load(file, weights_only=True))
    assert all(torch.equal(other(True), draw) for draw in expected)
    assert set(table.state_dict()) == {"log_alpha", "alive", "_extra_state"}


def test_the_seed_decides_the_first_gates_and_the_noise_and_leaves_the_global_generator_alone() -> (
    None
):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second, third = gates(seed=3), gates(seed=3), gates(seed=4)
    draws = [table(True) for table in (first, second, third)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(first(True), draws[0])
    assert torch.equal(first(False), second(False))


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda table: pickle.loads(pickle.dumps(table))],
    ids=["deepcopy", "pickle"],
)
def test_copies_draw_the_same_noise_from_generators_of_their_own(copied: object) -> None:
    table = gates(seed=1)
    table(True)
    twin = copied(table)  # type: ignore[operator]
    expected = [table(True) for _ in range(2)]
    assert all(torch.equal(twin(True), draw) for draw in expected)


def test_log_alpha_is_the_only_parameter_and_gates_are_float32() -> None:
    table = gates()
    assert [name for name, _ in table.named_parameters()] == ["log_alpha"]
    assert isinstance(table.log_alpha, nn.Parameter)
    assert table().dtype == torch.float32
    assert "rows=3, members=4" in repr(table)
