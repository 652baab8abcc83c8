"""Checkpoints of one origin, merged file by file: methods, documents, layouts, the engine.

No network is run or built here. Importing this package imports no torch.
"""

from onefold.checkpoints import methods

__all__ = ["methods"]
