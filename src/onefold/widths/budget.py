"""A budget: how much a network may cost, as a factor of another one's cost or as a number.

"1.5x" are 1.5 times the multiply-adds of one member, "0.5x parameters" half of its parameters, and
"2e6 bytes" two million bytes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from onefold.errors import SettingError, nearest
from onefold.widths.costs import UNITS, Costs

NUMBER = r"(?P<number>[0-9.]+(?:[eE][+-]?[0-9]+)?)"
FORM = re.compile(rf"\s*{NUMBER}\s*(?P<factor>[xX]?)\s*(?P<unit>[A-Za-z-]*)\s*")


@dataclass(frozen=True)
class Budget:
    """What a network may cost.

    Attributes:
        number: the cost in `unit`, or a factor of another network's cost.
        relative: whether it is a factor.
        unit: one of UNITS.
    """

    number: float
    relative: bool = True
    unit: str = UNITS[0]

    def limit(self, costs: Costs) -> float:
        """The greatest cost allowed, if `costs` are those of the network it is a factor of."""
        return self.number * costs.total(self.unit) if self.relative else self.number

    def __str__(self) -> str:
        """As it is written."""
        unit = "" if self.relative and self.unit == UNITS[0] else f" {self.unit}"
        return f"{self.number:g}{'x' if self.relative else ''}{unit}"


def budget_of(text: str) -> Budget:
    """A budget from its text.

    Args:
        text: a factor such as "1.5x", or a number with its unit; a factor may have one, too.

    Raises:
        SettingError: it is no budget, or its number is not greater than 0.
    """
    found = FORM.fullmatch(text) if isinstance(text, str) else None
    try:
        number = float(found["number"]) if found else math.nan
    except ValueError:
        number = math.nan
    if found is None or not (math.isfinite(number) and number > 0):
        raise SettingError(
            f"The budget is {text!r}; it must be a factor of one network's multiply-adds, such as"
            " '1.5x', or a number with a unit, such as '0.5x parameters' or '2e6 bytes'."
        )
    relative, unit = bool(found["factor"]), found["unit"] or UNITS[0]
    if not relative and not found["unit"]:
        raise SettingError(
            f"The budget {text!r} has no unit; write '{text.strip()}x' for a factor of one"
            f" network's multiply-adds, or one of {', '.join(UNITS)} behind it."
        )
    if unit not in UNITS:
        raise SettingError(f"A budget has no unit '{unit}'; {nearest(unit, UNITS)}")
    return Budget(number, relative, unit)
