"""Which units of a group stay, from the widths that a user asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from onefold.errors import WidthsError, nearest, shown
from onefold.symmetry.axes import Group
from onefold.symmetry.spec import SymmetrySpec
from onefold.widths.sizes import tied_by_cases, unequal_case, units_of_steps

DEAD = -1  # the number of a unit that was not there before


def chosen_units(
    spec: SymmetrySpec,
    widths: Mapping[str, Any],
    *,
    round_to: int = 1,
    tied: Sequence[frozenset[str]] = (),
) -> dict[str, Tensor]:
    """The units of every group whose width was given, as `resized_state` takes them.

    Args:
        spec: symmetries of the network.
        widths: group name -> number of units, or the numbers of those that stay, in their new
            order.
        round_to: numbers of units become multiples of it, upwards.
        tied: sets of groups that must have one width (`tied_groups`); those that are not named
            follow the others.

    Returns:
        Group name -> (C',) int64: old units in their new order, -1 for a dead one.

    Raises:
        WidthsError: a group is unknown, a width is no number of units, or groups that must have
            one width were given several.
    """
    if isinstance(round_to, bool) or not isinstance(round_to, int) or round_to < 1:
        raise WidthsError(f"round_to is {shown(round_to)}, but must be a whole number from 1 on.")
    units: dict[str, Tensor] = {}
    for name, width in widths.items():
        if name not in spec:
            raise WidthsError(
                f"The network has no group {shown(name)} whose width could change:"
                f" {nearest(str(name), [group.name for group in spec.groups])}"
            )
        group = spec.group(name)
        if isinstance(width, int) and not isinstance(width, bool):
            units[name] = first_units(group, _rounded(spec, group, width, round_to))
        else:
            units[name] = _listed(spec, group, width, round_to)
    for names in tied or tied_by_cases(spec):
        _follow(spec, names, widths, units)
    sizes = {name: chosen.shape[-1] for name, chosen in units.items()}
    if unequal := unequal_case(spec, sizes):
        tensor, apart = unequal
        raise WidthsError(
            f"The groups {', '.join(apart)} lie at different indices of one axis of '{tensor}', so"
            " that they must be given one width."
        )
    return units


def first_units(group: Group, width: int) -> Tensor:
    """The first units of a group, with dead ones behind them if there are more: (width,) int64."""
    numbers = torch.arange(width)
    return torch.where(numbers < group.size, numbers, DEAD)


def _rounded(spec: SymmetrySpec, group: Group, width: int, round_to: int) -> int:
    """The width as a multiple of `round_to` coordinates, not above the old one if narrower.

    Raises:
        WidthsError: the width is below 1.
    """
    if width < 1:
        raise WidthsError(f"Group {group.name} cannot have {width} units; give at least 1.")
    step = round_to // math.gcd(round_to, units_of_steps(spec, group.name))
    multiple = -(-width // step) * step
    return max(width, min(multiple, group.size)) if width <= group.size else multiple


def _listed(spec: SymmetrySpec, group: Group, given: Any, round_to: int) -> Tensor:
    """The units that a user has listed. Raises WidthsError if they are none."""
    numbers = given.tolist() if hasattr(given, "tolist") else given
    flat = isinstance(numbers, Sequence) and not isinstance(numbers, str)
    if not flat or any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
        raise WidthsError(
            f"The width of group {group.name} is {shown(given)}; give a number of units, or the"
            " numbers of the units that stay."
        )
    if not numbers:
        raise WidthsError(f"Group {group.name} cannot have 0 units; give at least 1.")
    wrong = [n for n in numbers if not 0 <= n < group.size]
    if wrong or len(set(numbers)) < len(numbers):
        what = f"{wrong[0]}, which it has not got" if wrong else "one of them twice"
        raise WidthsError(
            f"The units of group {group.name} name {what}; give each of 0 to {group.size - 1} at"
            " most once."
        )
    if _rounded(spec, group, len(numbers), round_to) != len(numbers):
        raise WidthsError(
            f"Group {group.name} keeps {len(numbers)} units, which round_to={round_to} does not"
            " allow; list more or fewer, or give a number."
        )
    return torch.tensor(numbers)


def _follow(
    spec: SymmetrySpec, names: frozenset[str], widths: Mapping[str, Any], units: dict[str, Tensor]
) -> None:
    """Give groups that must have one width the width of those that were named, if it is a number.

    Groups of another size than the named one are left to the check of lengths.
    """
    named = [name for name in names if name in units]
    sizes = {units[name].shape[-1] for name in named}
    if not named or len(sizes) > 1 or not all(isinstance(widths.get(name), int) for name in named):
        return
    old = spec.group(named[0]).size
    for name in names - set(named):
        if spec.group(name).size == old:
            units[name] = first_units(spec.group(name), next(iter(sizes)))
