"""The method that a document names, and the filter behind it.

A method is one of the registry, or a user's own in a file.

`merge_method: mine.py:halfway` imports the file `mine.py` from the working folder and takes the
method that it registers as `halfway`.
"""

from __future__ import annotations

from pathlib import Path

from onefold.checkpoints.document.content import Document
from onefold.checkpoints.document.scalars import scalar_of
from onefold.checkpoints.methods.base import Method, methods
from onefold.checkpoints.methods.calibration import Filter, filters
from onefold.checkpoints.methods.parameters import settings_of
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


def finish_of(document: Document) -> Filter | None:
    """What is done with each merged tensor behind the method, with its settings; None: nothing.

    Raises:
        SettingError: it is unknown, or a setting of it is.
    """
    if document.finish is None:
        return None
    kind = filters.get(document.finish.name)
    given = {}
    for one in settings_of(kind):
        if one.name in document.finish.settings:
            given[one.field] = scalar_of(document.finish.settings[one.name], one.scalar_kind)
    return kind(**given)


def method_file(name: str) -> Path | None:
    """The file of a user's own method; None: the method is one of the registry."""
    file, found, _ = name.rpartition(FILE)
    return Path(f"{file}.py").expanduser().absolute() if found else None


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
