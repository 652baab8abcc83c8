"""Many networks to one: the folds, repair, and `merge`, which does all of it."""

from onefold.fold.auto import Auto
from onefold.fold.average import folds
from onefold.fold.budgets import fold_to_budgets
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
from onefold.fold.pruning import PruneReport, PruneResult, prune
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
    "PruneReport",
    "PruneResult",
    "SoftMerge",
    "SoftResult",
    "UniformSoup",
    "fit_gates",
    "fold_to_budgets",
    "folds",
    "load_partial",
    "merge",
    "partial_merge",
    "polish",
    "prune",
    "recalibrate",
    "repair",
    "save_partial",
]
