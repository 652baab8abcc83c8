"""Whole checkpoints are merged: planned from headers, streamed from files into files.

Importing this package imports no torch.
"""

from onefold.checkpoints.engine.merging import merge_checkpoints
from onefold.checkpoints.engine.planning import Plan, plan_merge
from onefold.checkpoints.engine.result import MergedCheckpoint

__all__ = ["MergedCheckpoint", "Plan", "merge_checkpoints", "plan_merge"]
