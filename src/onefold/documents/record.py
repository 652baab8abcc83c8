"""What the bits of a result depend on, as documents record it: versions, threads and batches."""

from __future__ import annotations

import platform
from importlib.metadata import version

from pydantic import Field

from onefold._version import __version__
from onefold.batches import Data, fingerprint
from onefold.documents.part import Part
from onefold.errors import RecipeError


class Record(Part):
    """The versions that a result was made with; written, never needed.

    `data_sha256`: of the batches read. `result_sha256`: of the result file. `folder_sha256`: of the
    result where it is a folder.
    """

    onefold: str
    torch: str
    numpy: str
    scipy: str
    python: str
    threads: int = Field(ge=1)
    data_sha256: str | None = None
    result_sha256: str | None = None
    folder_sha256: str | None = None


def record(threads: int, data_sha256: str | None = None) -> Record:
    """The versions of everything that the bits of a result depend on."""
    versions = {name: version(name) for name in ("torch", "numpy", "scipy")}
    return Record(
        onefold=__version__,
        python=platform.python_version(),
        threads=threads,
        data_sha256=data_sha256,
        **versions,
    )


def check_batches(
    data: Data | None, source: str, recorded: Record | None, *, labels: bool = False
) -> str | None:
    """The fingerprint of batches.

    Args:
        data: the batches; None: there are none, and no fingerprint.
        source: their name, for the message.
        recorded: what a recipe was carried out with, if it was.
        labels: they belong to the fingerprint.

    Raises:
        RecipeError: it is not the recorded one.
    """
    if data is None:
        return None
    found = fingerprint(data, labels=labels)
    before = recorded.data_sha256 if recorded else None
    if before is not None and found != before:
        raise RecipeError(
            f"The data '{source}' gives other batches than the recipe was made with (SHA-256"
            f" {found[:12]}, recorded {before[:12]}); get the original data, or delete the key"
            " 'record' to use these."
        )
    return found


def other_versions(recorded: Record, threads: int) -> list[str]:
    """A warning if a recipe was made with other versions than these."""
    now = record(threads)
    changed = [
        f"{name} {getattr(recorded, name)}, now {getattr(now, name)}"
        for name in ("onefold", "torch", "numpy", "scipy", "threads")
        if getattr(recorded, name) != getattr(now, name)
    ]
    return (
        [f"the recipe was made with {'; '.join(changed)}: the result may differ in its last bits"]
        if changed
        else []
    )


def other_bits(
    name: str, digest: str, recorded: Record | None, *, folder: bool = False
) -> list[str]:
    """A warning if a result has another checksum than the recipe records of one of its form."""
    form = "folder_sha256" if folder else "result_sha256"
    before = getattr(recorded, form) if recorded else None
    if before in (None, digest):
        return []
    return [
        f"{name} has other bits (SHA-256 {digest[:12]}) than the recipe records"
        f" ({str(before)[:12]})"
    ]
