"""The versions, threads, seeds and batches that the bits of a result depend on."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from importlib.metadata import version

import torch

from onefold._version import __version__
from onefold.batches import Data, fingerprint
from onefold.errors import RecipeError
from onefold.recipe.document import Record, Repeatable


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


@contextlib.contextmanager
def settings(recipe: Repeatable, threads: int | None) -> Iterator[int]:
    """The recipe's seed and number of threads, for as long as it is carried out."""
    before = torch.get_num_threads()
    used = threads or (recipe.record.threads if recipe.record else before)
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(recipe.seed)
            torch.set_num_threads(used)
            yield used
    finally:
        torch.set_num_threads(before)


def check_batches(recipe: Repeatable, data: Data | None, *, labels: bool = False) -> str | None:
    """The fingerprint of the batches that `recipe` names.

    Raises RecipeError if it is not the recorded one.
    """
    if data is None:
        return None
    found = fingerprint(data, labels=labels)
    recorded = recipe.record.data_sha256 if recipe.record else None
    if recorded is not None and found != recorded:
        raise RecipeError(
            f"The data '{recipe.data and recipe.data.source}' gives other batches than the recipe"
            f" was made with (SHA-256 {found[:12]}, recorded {recorded[:12]}); get the original"
            " data, or delete the key 'record' to use these."
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
