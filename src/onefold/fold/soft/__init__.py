"""Soft merging: hard-concrete gates over several networks, their modules or their layers."""

from onefold.fold.soft.arguments import LEVELS
from onefold.fold.soft.fit import SoftResult, fit_gates
from onefold.fold.soft.mixture import Mixture
from onefold.fold.soft.soft_merge import SoftMerge
from onefold.fold.soft.table import GateTable

__all__ = ["LEVELS", "GateTable", "Mixture", "SoftMerge", "SoftResult", "fit_gates"]
