"""Checkpoints of one origin, merged file by file: methods, documents, layouts, the engine.

No network is run or built here. Importing this package imports no torch. What is of documents and
of the engine is resolved on first use (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onefold.checkpoints.methods import Filter, Method, TensorInputs, filters, merge_states

_EXPORTS = {
    "CheckpointComparison": "comparison",
    "Document": "document",
    "MergedCheckpoint": "engine",
    "compare_checkpoints": "comparison",
    "document_of": "document",
    "merge_checkpoints": "engine",
    "read_documents": "document",
}
_PACKAGES = ("comparison", "document", "engine", "layouts", "methods", "plan", "vocabulary")
__all__ = ["Filter", "Method", "TensorInputs", "filters", "merge_states", *_EXPORTS]

if TYPE_CHECKING:
    from onefold.checkpoints.comparison import CheckpointComparison as CheckpointComparison
    from onefold.checkpoints.comparison import compare_checkpoints as compare_checkpoints
    from onefold.checkpoints.document import Document as Document
    from onefold.checkpoints.document import document_of as document_of
    from onefold.checkpoints.document import read_documents as read_documents
    from onefold.checkpoints.engine import MergedCheckpoint as MergedCheckpoint
    from onefold.checkpoints.engine import merge_checkpoints as merge_checkpoints


def __getattr__(name: str) -> Any:
    """Import a name, or a package, on first use."""
    import importlib

    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _EXPORTS:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_PACKAGES})
