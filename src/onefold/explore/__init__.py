"""explore: one training run to many good minima."""

from onefold.explore.persistent import PersistentTraining
from onefold.explore.subspace import Ensemble, Subspace

__all__ = ["Ensemble", "PersistentTraining", "Subspace"]
