"""onefold inside of other people's training loops, and in their folders of models.

`onefold.integrations.lightning` and `onefold.integrations.transformers` hold the callbacks. Each
imports its loop's package, which this module does not.
"""

import importlib
from typing import Any

from onefold.integrations.average import Average
from onefold.integrations.pretrained import save_pretrained

__all__ = ["Average", "save_pretrained"]


def __getattr__(name: str) -> Any:
    """Import the module of a loop on first use (PEP 562)."""
    if name in ("lightning", "transformers"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
