"""Networks of the same class with other widths: `resize`, and the tensors alone."""

from __future__ import annotations

from onefold.widths.allocation import allocate
from onefold.widths.budget import Budget, budget_of
from onefold.widths.costs import Costs, costs_of, multiply_adds
from onefold.widths.kept import widening_changes
from onefold.widths.resize import resize
from onefold.widths.saved import load_resized
from onefold.widths.state import resized_state
from onefold.widths.ties import tied_groups
from onefold.widths.units import chosen_units

__all__ = [
    "Budget",
    "Costs",
    "allocate",
    "budget_of",
    "chosen_units",
    "costs_of",
    "load_resized",
    "multiply_adds",
    "resize",
    "resized_state",
    "tied_groups",
    "widening_changes",
]
