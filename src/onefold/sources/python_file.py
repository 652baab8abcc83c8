"""A user's own function as a source: `file.py:factory`."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from onefold.batches import check_reiterable
from onefold.errors import DataError, OnefoldError, SettingError, nearest
from onefold.sources.data import Request, data_sources
from onefold.sources.loader import Part
from onefold.sources.names import PYTHON_FILE, Name

REQUEST_ARGUMENTS = ("batch_size", "seed", "shuffle")  # passed to a data factory that takes them


def load_function(name: Name) -> Callable[..., Any]:
    """The function that `name` ("file.py:factory") names.

    The file is run once, under a private module name, with its folder importable.

    Raises:
        SettingError: the file is missing or fails, or it has no such function.
    """
    match = PYTHON_FILE.fullmatch(name.place)
    if match is None:
        raise SettingError(
            f"'{name.text}' is no function in a file; write it as path/to/file.py:function."
        )
    path = Path(match["file"]).expanduser()
    if not path.is_file():
        raise SettingError(f"The file {path} of '{name.text}' does not exist; check its path.")
    path = path.resolve()
    module = run_file(path, path.stat().st_mtime_ns)
    functions = [
        key for key, value in vars(module).items() if callable(value) and not key.startswith("_")
    ]
    function = getattr(module, match["factory"], None)
    if not callable(function):
        raise SettingError(
            f"The file {path} has no function '{match['factory']}';"
            f" {nearest(match['factory'], functions)}"
        )
    return function  # type: ignore[no-any-return]


def check_arguments(function: Callable[..., Any], arguments: Mapping[str, Any], name: Name) -> None:
    """Refuse keyword arguments with which `function` cannot be called.

    Args:
        function: the function.
        arguments: the keyword arguments.
        name: the name of the source, for the message.

    Raises:
        SettingError: they do not fit its signature.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in callables have none; calling them will tell
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        takes = ", ".join(signature.parameters) or "nothing"
        raise SettingError(
            f"The factory of '{name.text}' cannot be called so ({error}); it takes {takes}."
        ) from None


@data_sources.register("file.py:")
def python_data(request: Request) -> Iterable[Any]:
    """Your own function (file.py:factory) of split= and the options; returns batches, re-iterable.

    batch_size, seed and shuffle are passed if the function takes them. Else its own batches are
    used as they are. limit and skip are passed if it takes both. Else they are applied to its
    batches.

    Raises:
        SettingError: the file, the function or an argument does not fit, or `shuffle` is set and
            the function does not take it.
        DataError: the function fails, or returns no re-iterable.
    """
    function = load_function(request.name)
    try:
        taken = set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        taken = set()
    if request.shuffle and "shuffle" not in taken:
        raise SettingError(
            f"The function of '{request.name.text}' takes no argument shuffle, so its batches"
            " cannot be shuffled; add the argument."
        )
    arguments: dict[str, Any] = {
        key: getattr(request, key) for key in REQUEST_ARGUMENTS if key in taken
    }
    cuts_itself = {"limit", "skip"} <= taken
    if cuts_itself:
        arguments |= {"limit": request.limit, "skip": request.skip}
    arguments |= {"split": request.split, **request.name.options}
    check_arguments(function, arguments, request.name)
    data = call(function, arguments, request.name, DataError)
    check_reiterable(data, f"data of '{request.name.text}'")
    if cuts_itself or (request.limit is None and request.skip == 0):
        return data  # type: ignore[no-any-return]
    return Part(data, request.skip, request.limit)


def call(
    function: Callable[..., Any], arguments: Mapping[str, Any], name: Name, kind: type[OnefoldError]
) -> Any:
    """Call a user's function, and turn its errors into one sentence that names the source.

    Args:
        function: the function.
        arguments: its keyword arguments.
        name: the name of the source, for the message.
        kind: the class of the error to raise.

    Raises:
        OnefoldError: of the class `kind`, for any exception; errors of onefold are not changed.
    """
    try:
        return function(**arguments)
    except OnefoldError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise kind(
            f"The factory of '{name.text}' failed with {type(error).__name__}:"
            f" {reason or 'no message'}; put it right."
        ) from error


@functools.cache
def run_file(path: Path, changed: int) -> ModuleType:
    """Run a file once per version of it.

    Networks that are built from it later are then of one and the same class.
    """
    private = f"_onefold_{hashlib.sha256(f'{path}:{changed}'.encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(private, path)
    if spec is None or spec.loader is None:
        raise SettingError(f"The file {path} cannot be imported; is it Python?")
    module = importlib.util.module_from_spec(spec)
    sys.modules[private] = module  # dataclasses and pickle look their module up here
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[private]
        reason = str(error).strip().split("\n")[0][:200]
        raise SettingError(
            f"The file {path} failed with {type(error).__name__}: {reason or 'no message'}; put it"
            " right."
        ) from error
    finally:
        if str(path.parent) in sys.path:
            sys.path.remove(str(path.parent))
    return module
