"""Checkpoints compared file by file before a merge: no network is built, and no data is read.

Importing this package imports neither torch nor numpy.
"""

from onefold.checkpoints.comparison.compare import compare_checkpoints
from onefold.checkpoints.comparison.results import CheckpointComparison

__all__ = ["CheckpointComparison", "compare_checkpoints"]
