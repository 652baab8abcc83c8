"""Many networks to one: the folds, repair, and `merge`, which does all of it."""

from onefold.fold.average import folds
from onefold.fold.merge import MergeReport, MergeResult, merge
from onefold.fold.repair import recalibrate, repair

__all__ = ["MergeReport", "MergeResult", "folds", "merge", "recalibrate", "repair"]
