"""Persistent neurons: training again from the same start, repelled from the solutions already
found.
"""

from onefold.explore.persistent.persistent import PersistentTraining

__all__ = ["PersistentTraining"]
