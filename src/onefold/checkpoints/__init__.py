"""Checkpoints of one origin, merged file by file: methods, documents, layouts, the engine.

No network is run or built here. Importing this package imports no torch.
"""

from onefold.checkpoints.methods import Filter, Method, TensorInputs, filters, merge_states

__all__ = ["Filter", "Method", "TensorInputs", "filters", "merge_states"]
