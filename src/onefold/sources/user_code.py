"""A user's own Python file: run once, and its errors told by file and line."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from onefold.errors import SettingError

_folders: set[Path] = set()  # of the files that were run


@functools.cache
def run_file(path: Path, changed: int) -> ModuleType:
    """Run a file once per version of it, under a private module name, its folder importable.

    Networks that are built from it later are then of one and the same class.

    Args:
        path: the file, absolute.
        changed: its time of change (ns).

    Raises:
        SettingError: it is no Python, or it fails; the message names the line.
    """
    private = f"_onefold_{hashlib.sha256(f'{path}:{changed}'.encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(private, path)
    if spec is None or spec.loader is None:
        raise SettingError(f"The file {path} cannot be imported; is it Python?")
    module = importlib.util.module_from_spec(spec)
    sys.modules[private] = module  # dataclasses and pickle look their module up here
    sys.path.insert(0, str(path.parent))
    _folders.add(path.parent)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[private]
        raise SettingError(_why(path, error)) from error
    finally:
        if str(path.parent) in sys.path:
            sys.path.remove(str(path.parent))
    return module


def _why(path: Path, error: BaseException) -> str:
    where = place_of(error, path)
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line = f", line {error.lineno}" if error.lineno else ""
        return f"The file {path}{line}, is no valid Python: {error.msg}; put it right."
    if isinstance(error, SystemExit):
        return (
            f"The file {path} ends the program{where} when it is imported; put what is run behind"
            " if __name__ == '__main__'."
        )
    cure = "install it, or put the file right" if _is_missing_package(error) else "put it right"
    return f"The file {path} failed{where} with {reason_of(error)}; {cure}."


def _is_missing_package(error: BaseException) -> bool:
    return isinstance(error, ModuleNotFoundError)


def place_of(error: BaseException, path: Path | None = None) -> str:
    """Where in a user's code an error came from, as " in line 7 of data.py"; "" if it did not.

    Args:
        error: an error, or one that another was raised from.
        path: the file that the sentence has named already.
    """
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        if file.parent in _folders and file.suffix == ".py" and frame.lineno is not None:
            found = f" in line {frame.lineno}" + ("" if file == path else f" of {file.name}")
    return found


def reason_of(error: BaseException) -> str:
    """The class of an error, and the first line of its message."""
    lines = str(error).strip().split("\n")
    return f"{type(error).__name__}: {lines[0][:200].rstrip('.') or 'no message'}"
