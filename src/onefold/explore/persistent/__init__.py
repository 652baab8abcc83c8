"""Persistent neurons: train again from one start, repelled from earlier solutions."""

from onefold.explore.persistent.persistent import PersistentTraining

__all__ = ["PersistentTraining"]
