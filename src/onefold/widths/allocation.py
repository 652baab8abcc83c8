"""Widths under a budget: of which groups units are taken out, until a network costs little enough.

Each group has a curve: the error at the outputs with n of its units left. The errors of groups are
taken to add up. Units are taken out one after the other where this raises the error least for what
it saves,

    min over groups g and m of  (E_g(n_g - m) - E_g(n_g)) / (cost(n_g) - cost(n_g - m)),

with a look ahead by m units, since a curve need not be convex. Greedy allocation by ratios is
optimal up to the last step for convex curves and a cost that is a sum (Fox 1966, "Discrete
optimization via marginal analysis"); the cost here is a sum of products, so that ratios are
computed again after each step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from onefold.errors import SettingError
from onefold.widths.budget import Budget
from onefold.widths.costs import Costs


def allocate(
    rises: Mapping[str, Tensor],
    most: Mapping[str, int],
    costs: Costs,
    budget: Budget,
    fixed: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """The widths at which the network costs at most what the budget says.

    Args:
        rises: group -> by how much each unit that is taken out raises the error, in the order in
            which units go, float64. As many units as it has entries may go.
        most: group -> its number of units before any is taken out.
        costs: what the network costs.
        budget: what it may cost.
        fixed: group -> a width that stays.

    Returns:
        Group -> width, for the groups of `rises`.

    Raises:
        SettingError: the budget is below the least possible cost.
    """
    limit, unit = budget.limit(costs), budget.unit
    widths = {**(fixed or {}), **most}
    sums = {name: _summed(own) for name, own in rises.items()}
    least = {**widths, **{name: most[name] - len(rises[name]) for name in rises}}
    lowest = costs.total(unit, least)
    if lowest > limit * (1 + 1e-9):
        whole = costs.total(unit)
        raise SettingError(
            f"The budget {budget} cannot be met: with one unit left in each group that can be"
            f" narrowed the network costs {lowest:,.0f} {unit}, which is {lowest / whole:.2f} times"
            " one member's; give a larger budget."
        )
    gone = dict.fromkeys(rises, 0)
    while (over := costs.total(unit, widths) - limit) > limit * 1e-9:
        best: tuple[float, str, int] | None = None
        for name, own in sums.items():
            there = len(own) - 1 - gone[name]
            each = costs.saved(unit, widths, name, widths[name] - 1) if there else 0.0
            if there == 0 or each <= 0:
                continue
            enough = min(there, max(1, math.ceil(over / each)))
            ahead = own[gone[name] + 1 : gone[name] + enough + 1] - own[gone[name]]
            ratios = ahead / (each * torch.arange(1, enough + 1, dtype=torch.float64))
            step = int(ratios.argmin())
            found = (float(ratios[step]), name, step + 1)
            best = found if best is None or found < best else best
        if best is None:  # what is left saves nothing
            break
        _, name, count = best
        gone[name] += count
        widths[name] -= count
    _fill_up(widths, gone, sums, costs, unit, limit)
    return {name: widths[name] for name in rises}


def uniform(sizes: Mapping[str, int], most: Mapping[str, int], width: float) -> dict[str, int]:
    """The widths that are one share of all groups' own ones, at least 1 and at most `most`."""
    return {name: min(most[name], max(1, round(width * size))) for name, size in sizes.items()}


def _summed(rises: Tensor) -> Tensor:
    """The error after 0, 1, 2, ... units, (n + 1,) float64."""
    return torch.cat([rises.new_zeros(1), rises.clamp_min(0.0)]).double().cumsum(0)


def _fill_up(
    widths: dict[str, int],
    gone: dict[str, int],
    sums: Mapping[str, Tensor],
    costs: Costs,
    unit: str,
    limit: float,
) -> None:
    """Give back the units that still fit, those first whose absence costs most."""
    while True:
        left = limit - costs.total(unit, widths)
        best: tuple[float, str] | None = None
        for name, own in sums.items():
            if gone[name] == 0:
                continue
            price = -costs.saved(unit, widths, name, widths[name] + 1)
            gain = float(own[gone[name]] - own[gone[name] - 1])
            if price <= left and (best is None or gain > best[0]):
                best = (gain, name)
        if best is None:
            return
        gone[best[1]] -= 1
        widths[best[1]] += 1
