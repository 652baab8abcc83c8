"""The method that a document names: one of the registry, or a user's own in a file.

`merge_method: mine.py:halfway` imports the file `mine.py` from the working folder and takes the
method that it registers as `halfway`.
"""

from __future__ import annotations

from pathlib import Path

from onefold.checkpoints.methods.base import Method, methods
from onefold.errors import RecipeError, nearest

FILE = ".py:"
ELSEWHERE = {"moe": "mixtures of experts are made by mergekit-moe, not here"}


def method_class(name: str) -> type[Method]:
    """The class of a method, without importing torch unless a user's file does.

    Args:
        name: a registered name, or `file.py:name`.

    Raises:
        SettingError: there is none, or the file cannot be imported.
    """
    file, found, inner = name.rpartition(FILE)
    if found:
        _import(Path(f"{file}.py").expanduser())
        if inner not in methods:
            raise RecipeError(f"{file}.py registers no checkpoint method {inner!r}; register it.")
        return methods.get(inner)
    if name not in methods:
        raise RecipeError(f"there is no method {name[:60]!r}; {advice(name)}")
    return methods.get(name)


def advice(name: str) -> str:
    """What to write in place of a method that there is not."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    close = f"did you mean '{plain}'?" if plain in methods else nearest(plain, methods.names())
    return ELSEWHERE.get(plain, close)


def _import(path: Path) -> None:
    from onefold.sources.user_code import run_file  # which imports torch

    path = path.absolute()
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}; check the path.") from error
    run_file(path, changed)
