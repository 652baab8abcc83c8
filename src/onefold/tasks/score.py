"""What one number of a table of scores means: its name, unit and direction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Score:
    """One kind of score.

    Attributes:
        name: by which it is asked for, as "accuracy" or "rmse".
        label: as a heading shows it.
        unit: behind a number, as "%" or "nats"; "" for none.
        highest: whether more is better; None if nobody said.
        scale: from the number that is kept to the one that is shown, 100 for percent.
        digits: behind the point where it is shown.
    """

    name: str
    label: str
    unit: str = ""
    highest: bool | None = True
    scale: float = 1.0
    digits: int = 4

    @property
    def points(self) -> str:
        """The unit of a difference: that of two numbers in percent is the percentage point."""
        return "percentage points" if self.unit == "%" else self.unit

    def better(self, value: float) -> float:
        """The value, or its negative if less is better: more of this is better. NaN is worst."""
        if math.isnan(value):
            return -math.inf
        return value if self.highest is not False else -value

    def shown(self, value: float) -> str:
        """The value with its unit, as "81.30 %"."""
        return f"{self.scale * value:.{self.digits}f} {self.unit}".rstrip()

    def difference(self, gap: float) -> str:
        """A difference of two values with its sign and unit, as "+1.20 percentage points"."""
        return f"{self.scale * gap:+.{self.digits}f} {self.points}".rstrip()

    @property
    def heading(self) -> str:
        """The label with the unit, as "NLL (nats)"."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def __str__(self) -> str:
        return self.label

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"name": self.name, "label": self.label, "unit": self.unit, "highest": self.highest}


# Scores that several tasks have.
ACCURACY = Score("accuracy", "accuracy", "%", scale=100, digits=2)
NLL = Score("nll", "NLL", "nats", highest=False)
ECE = Score("ece", "ECE", "%", highest=False, scale=100, digits=2)
BRIER = Score("brier", "Brier score", highest=False)

__all__ = ["ACCURACY", "BRIER", "ECE", "NLL", "Score"]
