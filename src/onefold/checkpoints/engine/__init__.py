"""Whole checkpoints are merged: planned from headers, streamed from files into files.

Importing this package imports no torch.
"""

from onefold.checkpoints.engine.merging import merge_checkpoints
from onefold.checkpoints.engine.result import MergedCheckpoint
from onefold.checkpoints.plan.planning import Plan, plan_merge

__all__ = ["MergedCheckpoint", "Plan", "merge_checkpoints", "plan_merge"]
