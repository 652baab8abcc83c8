"""Ridge regression: its definition, its search for settings, and features far from zero."""

from __future__ import annotations

import pytest
import torch
from target_networks import SHAPES, Behind, Dense, Raw
from torch import Tensor

from onefold.fold.least_squares.ridge import RIDGES, Ridge


def test_ridge_regression_is_the_normal_equations() -> None:
    generator = torch.Generator().manual_seed(0)
    x, t = (torch.randn(1, 300, n, generator=generator, dtype=torch.float64) for n in (5, 3))
    prior = (
        torch.randn(1, 5, 3, generator=generator, dtype=torch.float64),
        torch.zeros(1, 3, dtype=torch.float64),
    )
    sums = Ridge([prior], True)
    sums.add(x[:, :200], t[:, :200], 0)
    sums.add(x[:, 200:], t[:, 200:], 60)
    found = sums.solve(0.1)
    centred, y = x[0] - x[0].mean(0), t[0] - x[0] @ prior[0][0]
    gram = centred.T @ centred / 300
    expected = prior[0][0] + torch.linalg.solve(
        gram + 0.1 * gram.diagonal().mean() * torch.eye(5), centred.T @ (y - y.mean(0)) / 300
    )
    torch.testing.assert_close(found.matrix[0], expected)
    torch.testing.assert_close((x[0] @ found.matrix[0] + found.constant[0]).mean(0), t[0].mean(0))
    error = (t[0, 240:] - _fitted(x, t, prior, 0.1)).square().sum() / (
        t[0, 240:] - t[0, 240:].mean(0)
    ).square().sum()
    assert found.r2 == pytest.approx(1 - float(error))
    noise = Ridge([prior, (0 * prior[0], prior[1])], True)
    noise.add(x, t, 60)
    chosen = noise.solve(None)
    assert chosen.prior == 1  # the target is independent of x, and of the first prior
    assert chosen.ridge >= 0.3


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_ridge_regression_does_not_mind_where_the_inputs_lie(offset: float) -> None:
    """In float32 the products of rows that are far from zero hold nothing but rounding."""
    generator = torch.Generator().manual_seed(0)
    x, t = (torch.randn(1, 300, n, generator=generator) for n in (5, 3))
    matrix = torch.randn(1, 5, 3, generator=generator, dtype=torch.float64)
    found = []
    for moved in (0.0, offset):
        sums = Ridge([(matrix, -moved * matrix.sum(1))], True)
        sums.add(x + moved, t, 60)
        found.append(sums.solve(None))
    assert found[0].ridge == found[1].ridge
    torch.testing.assert_close(found[1].matrix, found[0].matrix, rtol=0, atol=2e-3)
    torch.testing.assert_close(found[1].mean, found[0].mean + offset, rtol=0, atol=2e-3)
    torch.testing.assert_close(found[1].covariance, found[0].covariance, rtol=0, atol=2e-3)
    constant = found[1].constant + offset * found[1].matrix.sum(1)
    torch.testing.assert_close(constant, found[0].constant, rtol=0, atol=2e-3)


def _fitted(x: Tensor, t: Tensor, prior: tuple[Tensor, Tensor], ridge: float) -> Tensor:
    """What a fit to the first 240 rows says of the others."""
    rows, y = x[0, :240], t[0, :240] - x[0, :240] @ prior[0][0]
    centred = rows - rows.mean(0)
    gram = centred.T @ centred / 240
    matrix = torch.linalg.solve(
        gram + ridge * gram.diagonal().mean() * torch.eye(5), centred.T @ (y - y.mean(0)) / 240
    )
    return x[0, 240:] @ (matrix + prior[0][0]) + y.mean(0) - rows.mean(0) @ matrix


SHAPES |= {Dense: (100, 2, 7), Behind: (200, 4), Raw: (200, 4)}


def test_the_search_for_a_ridge_stops_behind_the_first_minimum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert RIDGES == (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0001)
    x, t, prior = rows_of(1)
    for errors, chosen in (
        ([9.0, 8.0, 7.0, 7.5, 1.0, 1.0, 1.0, 1.0, 1.0], 0.3),
        ([9.0, 9.5, 7.0, 6.0, 6.0, 1.0, 1.0, 1.0, 1.0], 0.1),
        ([2.0, 8.0, 7.0, 7.5, 1.0, 1.0, 1.0, 1.0, 1.0], float("inf")),
        ([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 0.0001),
    ):
        sums, given = Ridge([prior], True), iter(errors)
        sums.add(x, t, 20)
        monkeypatch.setattr(
            sums, "held_out_error", lambda *_, given=given: torch.tensor([next(given)])
        )
        assert sums.solve(None).ridge == chosen


def rows_of(groups: int, seed: int = 0) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Inputs away from zero, targets that depend on them, and a prior."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(groups, 120, 4, generator=generator, dtype=torch.float64) + 3.0
    true = torch.randn(groups, 4, 3, generator=generator, dtype=torch.float64)
    t = x @ true + 0.5 * torch.randn(groups, 120, 3, generator=generator, dtype=torch.float64) - 1.0
    return (
        x,
        t,
        (
            true + 0.3 * torch.randn(groups, 4, 3, generator=generator).double(),
            torch.ones(groups, 3, dtype=torch.float64),
        ),
    )


def by_hand(
    x: Tensor, t: Tensor, prior: tuple[Tensor, Tensor], ridge: float, intercept: bool
) -> tuple[Tensor, Tensor]:
    """Matrix and constant of one group."""
    matrix, constant = prior
    y = t - x @ matrix - constant
    mean_x, mean_y = (
        (x.mean(0), y.mean(0)) if intercept else (torch.zeros(4).double(), torch.zeros(3).double())
    )
    gram = (x - mean_x).T @ (x - mean_x) / len(x)
    change = torch.linalg.solve(
        gram + ridge * gram.diagonal().mean() * torch.eye(4), (x - mean_x).T @ (y - mean_y) / len(x)
    )
    return matrix + change, constant + mean_y - mean_x @ change


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("held", [0, 20, 120])
def test_ridge_regression_is_its_definition_in_every_group(
    intercept: bool, groups: int, held: int
) -> None:
    x, t, prior = rows_of(groups)
    sums = Ridge([prior], intercept)
    if held == 120:
        sums.add(x, t, 120)
    else:
        sums.add(x[:, :50], t[:, :50], 0)
        sums.add(x[:, 50:], t[:, 50:], held)
    found = sums.solve(0.5)
    for group in range(groups):
        matrix, constant = by_hand(
            x[group], t[group], (prior[0][group], prior[1][group]), 0.5, intercept
        )
        torch.testing.assert_close(found.matrix[group], matrix)
        torch.testing.assert_close(found.constant[group], constant)
    torch.testing.assert_close(found.mean, x.mean(1))
    centred = x - x.mean(1, keepdim=True)
    torch.testing.assert_close(found.covariance, centred.transpose(1, 2) @ centred / 120)
    assert (found.ridge, found.prior) == (0.5, 0)


@pytest.mark.parametrize("intercept", [True, False])
def test_ridge_and_prior_are_those_of_least_error_on_the_rows_held_out(intercept: bool) -> None:
    x, t, prior = rows_of(2, 1)
    other = (prior[0] + 2.0, prior[1])
    sums = Ridge([other, prior], intercept)
    sums.add(x[:, :30], t[:, :30], 10)
    sums.add(x[:, 30:], t[:, 30:], 30)
    found = sums.solve(None)
    fitted = torch.cat([x[:, :20], x[:, 30:90]], 1), torch.cat([t[:, :20], t[:, 30:90]], 1)
    held = torch.cat([x[:, 20:30], x[:, 90:]], 1), torch.cat([t[:, 20:30], t[:, 90:]], 1)
    errors = {}
    for ridge in RIDGES:
        for number, one in enumerate((other, prior)):
            solved = [
                by_hand(fitted[0][g], fitted[1][g], (one[0][g], one[1][g]), ridge, intercept)
                for g in range(2)
            ]
            errors[ridge, number] = sum(
                float((held[1][g] - held[0][g] @ matrix - constant).square().sum())
                for g, (matrix, constant) in enumerate(solved)
            )
    best = min(errors, key=errors.__getitem__)
    assert (found.ridge, found.prior) == best
    mean = held[1].mean(1, keepdim=True)
    assert found.r2 == pytest.approx(1 - errors[best] / float((held[1] - mean).square().sum()))


def test_where_nothing_is_to_be_gained_the_prior_stays_but_for_its_constant() -> None:
    x, _, prior = rows_of(1)
    rest = 0.1 * (x[:, :, :3] - 3.0)
    rest[:, 60:] *= -1  # what the fitted rows tell misleads on those held out
    sums = Ridge([prior], True)
    sums.add(x, x @ prior[0] + prior[1] + rest + 7.0, 60)
    found = sums.solve(None)
    assert found.ridge == float("inf")
    torch.testing.assert_close(found.matrix, prior[0])
    torch.testing.assert_close(found.constant, prior[1] + (rest + 7.0).mean(1))


def test_inputs_that_never_vary_leave_the_prior() -> None:
    x, t, prior = rows_of(1)
    still = torch.full_like(x, 2.0)
    sums = Ridge([prior], True)
    sums.add(still, t, 0)
    found = sums.solve(0.1)
    torch.testing.assert_close(found.matrix, prior[0])
    torch.testing.assert_close((still @ found.matrix + found.constant[:, None]).mean(1), t.mean(1))
    assert found.r2 != found.r2  # nothing was held out


def test_one_input_by_hand() -> None:
    """x = -1, 1 and t = -3, 5: the constant is 1, and W = 4 / (1 + lambda) towards a prior of 0."""
    x = torch.tensor([[[-1.0], [1.0]]], dtype=torch.float64)
    target = torch.tensor([[[-3.0], [5.0]]], dtype=torch.float64)
    nothing = (torch.zeros(1, 1, 1).double(), torch.zeros(1, 1).double())
    for ridge, weight in ((1e-9, 4.0), (1.0, 2.0), (3.0, 1.0)):
        fit = Ridge([nothing], intercept=True)
        fit.add(x, target, 0)
        found = fit.solve(ridge)
        assert float(found.matrix) == pytest.approx(weight, rel=1e-6)
        assert float(found.constant) == pytest.approx(1.0)
    fit = Ridge([(torch.full((1, 1, 1), 4.0).double(), torch.ones(1, 1).double())], True)
    fit.add(x, target, 0)
    assert float(fit.solve(100.0).matrix) == pytest.approx(4.0)  # the prior is right already
