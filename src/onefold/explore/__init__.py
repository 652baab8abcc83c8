"""explore: one training run to many good minima."""

from onefold.explore.ensemble import Ensemble
from onefold.explore.persistent import PersistentTraining
from onefold.explore.subspace import Subspace

__all__ = ["Ensemble", "PersistentTraining", "Subspace"]
