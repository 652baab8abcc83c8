"""Read and write checkpoints: validated, lazy and atomic.

The names are resolved on first use (PEP 562): the command line checks paths with this package
before torch is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

_EXPORTS = {
    "Checkpoint": "reader",
    "LazyState": "lazy",
    "Selection": "selection",
    "atomic_directory": "atomic",
    "atomic_write": "atomic",
    "check_all_tensors": "checks",
    "check_apart": "paths",
    "check_ending": "atomic",
    "check_fit": "checks",
    "check_members": "checks",
    "check_ordinary": "paths",
    "check_output": "atomic",
    "check_state": "checks",
    "checksum": "checksums",
    "fitted": "reader",
    "load": "reader",
    "load_into": "checks",
    "read": "reader",
    "repeated": "duplicates",
    "save": "writer",
    "state_checksum": "checksums",
    "warn_of_repeated": "duplicates",
}
__all__ = [*_EXPORTS]

if TYPE_CHECKING:
    from onefold.weights.atomic import atomic_directory as atomic_directory
    from onefold.weights.atomic import atomic_write as atomic_write
    from onefold.weights.atomic import check_ending as check_ending
    from onefold.weights.atomic import check_output as check_output
    from onefold.weights.checks import check_all_tensors as check_all_tensors
    from onefold.weights.checks import check_fit as check_fit
    from onefold.weights.checks import check_members as check_members
    from onefold.weights.checks import check_state as check_state
    from onefold.weights.checks import load_into as load_into
    from onefold.weights.checksums import checksum as checksum
    from onefold.weights.checksums import state_checksum as state_checksum
    from onefold.weights.duplicates import repeated as repeated
    from onefold.weights.duplicates import warn_of_repeated as warn_of_repeated
    from onefold.weights.lazy import LazyState as LazyState
    from onefold.weights.paths import check_apart as check_apart
    from onefold.weights.paths import check_ordinary as check_ordinary
    from onefold.weights.reader import Checkpoint as Checkpoint
    from onefold.weights.reader import fitted as fitted
    from onefold.weights.reader import load as load
    from onefold.weights.reader import read as read
    from onefold.weights.selection import Selection as Selection
    from onefold.weights.writer import save as save


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    import importlib

    if name not in _EXPORTS:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
