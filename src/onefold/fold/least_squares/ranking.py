"""Which units a network of other widths keeps, in one of two ways.

"units"   The units of all members compete, and the most needed ones stay.
"member"  All units of the reference stay, and the most needed ones of the others beside them.

The error that ranks units takes for granted that all that they read is there
(`units.py`). A unit is little worth, though, without those of its own member that it reads. Where
members know the same, units of both in every layer are worse than one member whole: a network of
1.5 times the multiply-adds can then be far below the best member. Where each knows something of its
own, competition is better. No error of single layers tells the two apart, so that both are solved
and their outputs are compared (`distance.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from onefold.errors import SettingError
from onefold.fold.least_squares.elimination import Elimination
from onefold.fold.least_squares.plan import Plan
from onefold.fold.least_squares.selection import UnitSelection
from onefold.widths.allocation import allocate, uniform
from onefold.widths.budget import Budget
from onefold.widths.costs import Costs

NEAREST, UNITS, MEMBER = "nearest", "units", "member"
KEEP = (NEAREST, UNITS, MEMBER)


@dataclass(frozen=True)
class Ranks:
    """The units of a group in the order in which they can be spared.

    Attributes:
        units: of all members, down to one unit.
        member: of all members but the reference, whose units are left.
    """

    units: Elimination
    member: Elimination


@dataclass(frozen=True)
class Ranking:
    """All groups whose units can be chosen.

    Attributes:
        plan: the plan of the fold.
        ranks: group -> the order of its units.
        costs: what the network costs at any widths.
        fixed: group -> why its width cannot change.
    """

    plan: Plan
    ranks: Mapping[str, Ranks]
    costs: Costs
    fixed: Mapping[str, str]

    def ways(self, keep: str, width: float | None, budget: Budget | None) -> list[str]:
        """The ways to try, the one that comes first being preferred if they are level.

        Raises:
            SettingError: a member is to be kept whole, which costs more than is allowed.
        """
        least = 1.0 if width is None else width
        if budget is not None:
            least = budget.limit(self.costs) / self.costs.total(budget.unit)
        if len(self.plan.shares) == 1 or keep == UNITS or not self.ranks:
            return [UNITS]
        if least < 1 and keep == MEMBER:
            raise too_little(f"width {width:g}" if budget is None else f"budget {budget}")
        if least < 1:
            return [UNITS]
        return [MEMBER] if keep == MEMBER else [MEMBER, UNITS]

    def widths(self, way: str, width: float | None, budget: Budget | None) -> dict[str, int]:
        """Group -> number of units, of the groups whose units can be chosen.

        Raises:
            SettingError: the budget is below the least possible cost.
        """
        spec, members = self.plan.spec, len(self.plan.shares)
        sizes = {name: spec.group(name).size for name in self.ranks}
        free = {name: size for name, size in sizes.items() if name not in self.fixed}
        most = {name: members * size for name, size in free.items()}
        if budget is None:
            return {**sizes, **uniform(free, most, 1.0 if width is None else width)}
        rises = {name: self.order(way, name).rises for name in free}
        return {**sizes, **allocate(rises, most, self.costs, budget)}

    def selections(
        self, way: str, width: float | None, budget: Budget | None
    ) -> dict[str, UnitSelection]:
        """Group -> the units that are kept."""
        reference, selections = self.plan.reference, {}
        for name, count in self.widths(way, width, budget).items():
            units, size = self.order(way, name).kept(count), self.plan.spec.group(name).size
            make = UnitSelection.placed if count == size else UnitSelection.ordered
            selections[name] = make(units, size, reference)
        return selections

    def order(self, way: str, name: str) -> Elimination:
        """The order of a group's units."""
        found: Elimination = getattr(self.ranks[name], way)
        return found


def too_little(given: str) -> SettingError:
    """The error of a width or budget below one member, all of whose units are to stay."""
    return SettingError(
        f"With keep='member' all units of a member stay, so that the {given} cannot be met; give"
        " one of at least 1, or keep='units'."
    )


def own_units(members: int, size: int, reference: int) -> torch.Tensor:
    """(members * size,) bool: the reference's units, numbered member * size + unit."""
    return torch.arange(members * size) // size == reference
