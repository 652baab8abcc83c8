"""One training run to many good minima: subspaces, persistent rounds, comparisons of networks."""

from onefold.explore.pairs import Compared, Pairs, measure_pairs
from onefold.explore.persistent import PersistentTraining
from onefold.explore.subspace import Subspace

__all__ = ["Compared", "Pairs", "PersistentTraining", "Subspace", "measure_pairs"]
