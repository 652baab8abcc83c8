"""Many networks to one: the folds, repair, and `merge`, which does all of it."""

from onefold.fold.auto import Auto
from onefold.fold.average import folds
from onefold.fold.correlated import CorrelatedAverage
from onefold.fold.distillation import Polish, Polished, polish
from onefold.fold.least_squares import LeastSquares
from onefold.fold.merge import merge
from onefold.fold.merge_report import MergeReport, MergeResult
from onefold.fold.partial import (
    PartialMerge,
    PartialReport,
    PartialResult,
    load_partial,
    partial_merge,
    save_partial,
)
from onefold.fold.repair import recalibrate, repair
from onefold.fold.soft import Mixture, SoftMerge, SoftResult, fit_gates
from onefold.fold.soup import GreedySoup, UniformSoup

__all__ = [
    "Auto",
    "CorrelatedAverage",
    "GreedySoup",
    "LeastSquares",
    "MergeReport",
    "MergeResult",
    "Mixture",
    "PartialMerge",
    "PartialReport",
    "PartialResult",
    "Polish",
    "Polished",
    "SoftMerge",
    "SoftResult",
    "UniformSoup",
    "fit_gates",
    "folds",
    "load_partial",
    "merge",
    "partial_merge",
    "polish",
    "recalibrate",
    "repair",
    "save_partial",
]
