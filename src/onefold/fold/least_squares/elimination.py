"""Which units a layer that reads them can least do without: backward elimination in ridge
regression.

    E(S) = min over V of  |Y - X_S V|^2 / n + lambda m |V|^2,    m = the mean of the diagonal of X'X
    / n,

with the columns of X in blocks, one for each unit, and S the units that are kept. With P = (X'X / n
+ lambda m I)^-1 and V = P X'Y / n, to take out unit j raises E by exactly  tr V_j' (P_jj)^-1 V_j,
and P and V follow by a step of Gaussian elimination. Several layers that read the same units each
have their own X and Y; their errors add up. Backward elimination: Marill & Green 1963; by the
inverse of a Gram matrix, as here: Hassibi & Stork 1993, "Second order derivatives for network
pruning: Optimal Brain Surgeon".

Cost: for N columns O(N^3) flops in all, when a share of the units is taken out in each step.
Memory: N^2 float64 numbers for each reader, twice.
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
    """One layer that reads the units: X'X / n and X'Y / n, centred, float64.

    Columns: unit by unit, `block` of each.
    """

    gram: Tensor
    cross: Tensor
    block: int


def keep(
    readers: Sequence[Regression], units: int, count: int, ridge: float, at_once: float = AT_ONCE
) -> Tensor:
    """(count,) int64, ascending: the units that stay when the rest of all `units` is taken out, the
    least needed first.
    """
    alive = torch.arange(units)
    states = [_start(reader, ridge) for reader in readers]
    blocks = [reader.block for reader in readers]
    while len(alive) > count and states:
        number = max(1, min(len(alive) - count, int(at_once * len(alive))))
        likely = (len(alive) - 1 - _costs(states, blocks).flip(0).argsort(stable=True))[
            : 2 * number
        ]  # of equal ones the last goes first
        out = likely[
            _least_needed(
                [_part(*state, likely, block) for state, block in zip(states, blocks, strict=True)],
                blocks,
                number,
            )
        ]
        states = [_without(*state, out, block) for state, block in zip(states, blocks, strict=True)]
        stays = torch.ones(len(alive), dtype=torch.bool)
        stays[out.cpu()] = False
        alive = alive[stays]
    return alive[:count]


def _least_needed(states: list[_State], blocks: Sequence[int], number: int) -> Tensor:
    """Of a few units the `number` that go first when they go one by one: of two that do the same
    only one is without cost.
    """
    left = torch.arange(len(states[0][0]) // blocks[0])
    gone: list[int] = []
    while len(gone) < number:
        least = _costs(states, blocks).argmin().cpu()[None]
        gone.append(int(left[least]))
        states = [
            _without(*state, least, block) for state, block in zip(states, blocks, strict=True)
        ]
        left = left[left != left[least]]
    return torch.tensor(gone)


def _start(reader: Regression, ridge: float) -> _State:
    gram = reader.gram
    loading = max(
        ridge * float(gram.diagonal().mean()), 1e-12 * float(gram.diagonal().max()), 1e-30
    )
    factor = torch.linalg.cholesky(
        gram + loading * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    )
    inverse = torch.cholesky_inverse(factor)
    return inverse, inverse @ reader.cross


def _costs(states: Sequence[_State], blocks: Sequence[int]) -> Tensor:
    """What each unit's absence adds to the error of all readers."""
    total = torch.zeros(())
    for (inverse, solution), block in zip(states, blocks, strict=True):
        units = len(inverse) // block
        each = torch.arange(units, device=inverse.device)
        own = solution.reshape(units, block, -1)
        diagonal = inverse.reshape(units, block, units, block)[each, :, each, :]
        total = total + (own * torch.linalg.solve(diagonal, own)).sum((1, 2)).cpu()
    return total


def _part(inverse: Tensor, solution: Tensor, units: Tensor, block: int) -> _State:
    """The rows and columns of some of the units."""
    own = _columns(units, block).to(inverse.device)
    return inverse[own][:, own], solution[own]


def _columns(units: Tensor, block: int) -> Tensor:
    return (units[:, None] * block + torch.arange(block)).reshape(-1)


def _without(inverse: Tensor, solution: Tensor, units: Tensor, block: int) -> _State:
    """The inverse and the solution once these units are gone."""
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
