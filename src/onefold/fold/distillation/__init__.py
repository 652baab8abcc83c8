"""Distillation of an ensemble into one network: settings, views, aims, rates and steps."""

from onefold.fold.distillation.aims import POLISHING, check_distillable
from onefold.fold.distillation.polishing import check_polishable, polish
from onefold.fold.distillation.settings import TOLD, Polish, Polished, as_polish
from onefold.fold.distillation.views import View, Viewer, check_views, views

__all__ = [
    "POLISHING",
    "TOLD",
    "Polish",
    "Polished",
    "View",
    "Viewer",
    "as_polish",
    "check_distillable",
    "check_polishable",
    "check_views",
    "polish",
    "views",
]
