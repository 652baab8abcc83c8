"""Partial merging: one trunk for all members, and each member's own layers behind it."""

from onefold.fold.partial.cost import Cost, Costs
from onefold.fold.partial.module import PartialMerge
from onefold.fold.partial.partial import PartialReport, PartialResult, partial_merge
from onefold.fold.partial.saved import load_partial, save_partial

__all__ = [
    "Cost",
    "Costs",
    "PartialMerge",
    "PartialReport",
    "PartialResult",
    "load_partial",
    "partial_merge",
    "save_partial",
]
