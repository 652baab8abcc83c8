"""Many networks to one: the folds, repair, and `merge`, which does all of it."""

from onefold.fold.average import folds
from onefold.fold.merge import MergeReport, MergeResult, merge
from onefold.fold.repair import recalibrate, repair
from onefold.fold.soft import Mixture, SoftMerge, SoftResult, fit_gates

__all__ = ["MergeReport", "MergeResult", "Mixture", "SoftMerge", "SoftResult", "fit_gates", "folds", "merge", "recalibrate", "repair"]
