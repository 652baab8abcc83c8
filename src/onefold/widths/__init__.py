"""Networks of the same class with other widths: `resize`, and the tensors alone."""

from __future__ import annotations

from onefold.widths.kept import widening_changes
from onefold.widths.resize import resize
from onefold.widths.saved import load_resized
from onefold.widths.state import resized_state
from onefold.widths.ties import tied_groups
from onefold.widths.units import chosen_units

__all__ = [
    "chosen_units",
    "load_resized",
    "resize",
    "resized_state",
    "tied_groups",
    "widening_changes",
]
