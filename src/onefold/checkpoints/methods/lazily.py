"""torch and numpy, imported when something is computed.

Documents are checked from the declarations of the methods alone. Without these stand-ins that
check would import torch, which takes seconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


class Later:
    """A module that is imported when an attribute of it is first read.

    Args:
        name: name of the module.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)  # the next look-up does not come here
        return value


if TYPE_CHECKING:
    import numpy as np
    import torch
else:
    np = Later("numpy")
    torch = Later("torch")

__all__ = ["np", "torch"]
