"""Read and write checkpoints: validated, lazy and atomic."""

from onefold.weights.atomic import atomic_directory, atomic_write, check_ending, check_output
from onefold.weights.checks import (
    check_all_tensors,
    check_fit,
    check_members,
    check_state,
    load_into,
)
from onefold.weights.checksums import checksum, state_checksum
from onefold.weights.duplicates import repeated, warn_of_repeated
from onefold.weights.lazy import LazyState
from onefold.weights.paths import check_apart, check_ordinary
from onefold.weights.reader import Checkpoint, fitted, load, read
from onefold.weights.selection import Selection
from onefold.weights.writer import save

__all__ = [
    "Checkpoint",
    "LazyState",
    "Selection",
    "atomic_directory",
    "atomic_write",
    "check_all_tensors",
    "check_apart",
    "check_ending",
    "check_fit",
    "check_members",
    "check_ordinary",
    "check_output",
    "check_state",
    "checksum",
    "fitted",
    "load",
    "load_into",
    "read",
    "repeated",
    "save",
    "state_checksum",
    "warn_of_repeated",
]
