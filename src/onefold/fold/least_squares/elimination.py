"""Backward elimination of units in ridge regression.

The units that stay are those which the layers that read them need most:

    E(S) = min over V of  |Y - X_S V|^2 / n + lambda m |V|^2,
    m    = the mean of the diagonal of X'X / n.

The columns of X form blocks, one for each unit. S are the units that stay. With P = (X'X / n +
lambda m I)^-1 and V = P X'Y / n, taking out unit j raises E by exactly  tr V_j' (P_jj)^-1 V_j.  P
and V follow by a step of Gaussian elimination. Several layers that read the same units each have
their own X and Y, and their errors add up.

Backward elimination: Marill & Green 1963. By the inverse of a Gram matrix, as here: Hassibi & Stork
1993, "Second order derivatives for network pruning: Optimal Brain Surgeon".

Cost: O(N^3) flops in all for N columns, if a fixed share of the units is taken out in each step.
Memory: N^2 float64 numbers for each regression, twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

AT_ONCE = 0.1  # the share of the remaining units that one step takes out

_State = tuple[Tensor, Tensor]  # P and V


@dataclass
class Regression:
    """The regression of one layer that reads the units.

    Attributes:
        gram: X'X / n (N, N), centred, float64. Columns are ordered by unit.
        cross: X'Y / n (N, outputs), centred, float64.
        block: the number of columns of one unit.
    """

    gram: Tensor
    cross: Tensor
    block: int


@dataclass(frozen=True)
class Elimination:
    """The units of a group in the order in which they were taken out.

    Attributes:
        out: unit numbers, int64, the least needed one first.
        rises: (as many) by how much each one raised the error E, float64.
        left: the numbers of the units that were left, ascending.
    """

    out: Tensor
    rises: Tensor
    left: Tensor

    def kept(self, count: int) -> Tensor:
        """The numbers (count,) of the units that stay if so many do, ascending.

        `count` lies between the number of units that were left and that of all.
        """
        late = self.out[len(self.out) + len(self.left) - count :]
        return torch.cat([self.left, late]).sort().values


def eliminate(
    regressions: Sequence[Regression],
    units: int,
    count: int,
    ridge: float,
    at_once: float = AT_ONCE,
) -> Tensor:
    """The units that stay after the least needed ones are taken out.

    Args:
        regressions: of the layers that read the units; their errors are added.
        units: the number of units.
        count: the number of units that stay.
        ridge: lambda.
        at_once: the largest share of the remaining units that one step takes out.

    Returns:
        Unit numbers (count,), int64, ascending.
    """
    if not regressions:
        return torch.arange(units)[:count]
    return eliminated(regressions, units, count, ridge, at_once).left


def eliminated(
    regressions: Sequence[Regression],
    units: int,
    count: int,
    ridge: float,
    at_once: float = AT_ONCE,
    stay: Tensor | None = None,
) -> Elimination:
    """As `eliminate`, with the units that were taken out and what each one cost.

    Args:
        regressions: of at least one layer that reads the units.
        units: as there.
        count: as there.
        ridge: as there.
        at_once: as there.
        stay: (units,) bool, units that are not taken out, at most `count`; None: none.
    """
    held = torch.zeros(units, dtype=torch.bool) if stay is None else stay
    gone, rises = [torch.arange(0)], [torch.zeros(0, dtype=torch.float64)]
    alive = torch.arange(units)
    states = [_start(regression, ridge) for regression in regressions]
    blocks = [regression.block for regression in regressions]
    while len(alive) > count:
        number = max(1, min(len(alive) - count, int(at_once * len(alive))))
        # Of units of equal cost the last goes first.
        order = len(alive) - 1 - _costs(states, blocks).flip(0).argsort(stable=True)
        order = order[~held[alive][order.cpu()].to(order.device)]
        likely = order[: 2 * number]
        parts = [_part(*state, likely, block) for state, block in zip(states, blocks, strict=True)]
        least, rise = _least_needed(parts, blocks, number)
        out = likely[least]
        gone.append(alive[out.cpu()])
        rises.append(rise)
        states = [_without(*state, out, block) for state, block in zip(states, blocks, strict=True)]
        stays = torch.ones(len(alive), dtype=torch.bool)
        stays[out.cpu()] = False
        alive = alive[stays]
    return Elimination(torch.cat(gone), torch.cat(rises), alive)


def _least_needed(
    states: list[_State], blocks: Sequence[int], number: int
) -> tuple[Tensor, Tensor]:
    """The `number` of these few units that go first if they go one by one, and what each costs.

    Of two units that do the same only one costs nothing.
    """
    states = [(inverse.clone(), solution.clone()) for inverse, solution in states]
    gone: list[int] = []
    rises: list[float] = []
    while len(gone) < number:
        costs = _costs(states, blocks)
        costs[gone] = torch.inf
        least = costs.argmin().cpu()[None]
        gone.append(int(least))
        rises.append(float(costs[gone[-1]]))
        for (inverse, solution), block in zip(states, blocks, strict=True):
            _take_out(inverse, solution, least, block)
    return torch.tensor(gone), torch.tensor(rises, dtype=torch.float64)


def _take_out(inverse: Tensor, solution: Tensor, unit: Tensor, block: int) -> None:
    """Take one unit out in place: its rows and columns become those of a unit that does nothing.

    The step is that of `_without`, whose copies would cost more than its products here.
    """
    out = _columns(unit, block).to(inverse.device)
    beside = inverse[out]
    step = torch.linalg.solve(beside[:, out], torch.cat([beside, solution[out]], 1))
    inverse.addmm_(beside.T, step[:, : len(inverse)], alpha=-1)
    solution.addmm_(beside.T, step[:, len(inverse) :], alpha=-1)
    inverse[out], inverse[:, out], solution[out] = 0.0, 0.0, 0.0
    inverse[out, out] = 1.0


def _start(regression: Regression, ridge: float) -> _State:
    gram = regression.gram
    diagonal = gram.diagonal()
    loading = max(ridge * float(diagonal.mean()), 1e-12 * float(diagonal.max()), 1e-30)
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram + loading * identity))
    return inverse, inverse @ regression.cross


def _costs(states: Sequence[_State], blocks: Sequence[int]) -> Tensor:
    """The rise of the summed error without each unit, (units,) float64."""
    total = torch.zeros(())
    for (inverse, solution), block in zip(states, blocks, strict=True):
        units = len(inverse) // block
        index = torch.arange(units, device=inverse.device)
        rows = solution.reshape(units, block, -1)
        diagonal = inverse.reshape(units, block, units, block)[index, :, index, :]
        total = total + (rows * torch.linalg.solve(diagonal, rows)).sum((1, 2)).cpu()
    return total


def _part(inverse: Tensor, solution: Tensor, units: Tensor, block: int) -> _State:
    """The rows and columns of some of the units."""
    columns = _columns(units, block).to(inverse.device)
    return inverse[columns][:, columns], solution[columns]


def _columns(units: Tensor, block: int) -> Tensor:
    return (units[:, None] * block + torch.arange(block)).reshape(-1)


def _without(inverse: Tensor, solution: Tensor, units: Tensor, block: int) -> _State:
    """The inverse and the solution without these units."""
    out = _columns(units, block).to(inverse.device)
    stays = torch.ones(len(inverse), dtype=torch.bool, device=inverse.device)
    stays[out] = False
    beside = inverse[out][:, stays]
    step = torch.linalg.solve(inverse[out][:, out], torch.cat([beside, solution[out]], 1))
    across = step[:, : beside.shape[1]]
    return (
        inverse[stays][:, stays] - beside.T @ across,
        solution[stays] - beside.T @ step[:, beside.shape[1] :],
    )
