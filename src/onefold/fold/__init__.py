"""Many networks to one: the folds, repair, and `merge`, which does all of it."""

from onefold.fold.auto import Auto
from onefold.fold.average import folds
from onefold.fold.least_squares import LeastSquares
from onefold.fold.merge import MergeReport, MergeResult, merge
from onefold.fold.polish import Polished, polish
from onefold.fold.repair import recalibrate, repair
from onefold.fold.soft import Mixture, SoftMerge, SoftResult, fit_gates
from onefold.fold.soup import GreedySoup, UniformSoup

__all__ = [
    "Auto",
    "GreedySoup",
    "LeastSquares",
    "MergeReport",
    "MergeResult",
    "Mixture",
    "Polished",
    "SoftMerge",
    "SoftResult",
    "UniformSoup",
    "fit_gates",
    "folds",
    "merge",
    "polish",
    "recalibrate",
    "repair",
]
