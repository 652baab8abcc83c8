"""Several networks that answer as one: means of outputs, and pools class by class."""

from onefold.ensemble.class_shares import EVEN, class_pool, pooled
from onefold.ensemble.ensemble import Ensemble
from onefold.ensemble.mean import mean_output
from onefold.ensemble.names import (
    ENSEMBLE_MEANS,
    ENSEMBLES,
    EnsembleMean,
    EnsembleName,
    check_ensemble,
    name_of,
)
from onefold.ensemble.pool import ClassPool, mean_pool

__all__ = [
    "ENSEMBLES",
    "ENSEMBLE_MEANS",
    "EVEN",
    "ClassPool",
    "Ensemble",
    "EnsembleMean",
    "EnsembleName",
    "check_ensemble",
    "class_pool",
    "mean_output",
    "mean_pool",
    "name_of",
    "pooled",
]
