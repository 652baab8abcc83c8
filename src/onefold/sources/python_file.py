"""A user's own function as a source: `file.py:factory`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from onefold.errors import DataError, OnefoldError, SettingError, kind_of, nearest
from onefold.sources.data import Request, checks, data_sources
from onefold.sources.loader import Part
from onefold.sources.names import PYTHON_FILE, Name
from onefold.sources.returned import check_batches
from onefold.sources.user_code import place_of, reason_of, run_file

CURE = "; it is called with split= and what it takes of batch_size=, seed= and shuffle="
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
    wanted = match["factory"]
    function = getattr(module, wanted, None)
    if callable(function):
        return function  # type: ignore[no-any-return]
    if wanted in vars(module):
        raise SettingError(
            f"'{wanted}' in the file {path} is {kind_of(function)}, and no function; write one that"
            " returns it."
        )
    functions = [
        key for key, value in vars(module).items() if callable(value) and not key.startswith("_")
    ]
    own = [key for key in functions if vars(module)[key].__module__ == module.__name__]
    raise SettingError(
        f"The file {path} has no function '{wanted}'; {nearest(wanted, own or functions)}"
    )


def check_arguments(
    function: Callable[..., Any], arguments: Mapping[str, Any], name: Name, cure: str = ""
) -> None:
    """Refuse keyword arguments with which `function` cannot be called.

    Args:
        function: the function.
        arguments: the keyword arguments.
        name: the name of the source, for the message.
        cure: the end of the message, which says what to do.

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
            f"The factory of '{name.text}' cannot be called so ({error}); it takes {takes}{cure}."
        ) from None


@data_sources.register("file.py:")
def python_data(request: Request) -> Iterable[Any]:
    """Your own function (file.py:load) of split= and the options; returns batches, re-iterable.

    split is "train" or "test". batch_size, seed and shuffle are passed if the function takes them.
    Else its own batches are used as they are. limit and skip (numbers of examples) are passed if it
    takes both. Else they are applied to its batches. A batch is a tensor of inputs, (inputs,
    labels), or a dict of keywords with "labels"; inputs are ready for the network, of its dtype,
    and labels are class numbers (n,). The function returns a list of batches, a DataLoader, or
    another object whose `__iter__` begins anew.

    Raises:
        SettingError: the file, the function or an argument does not fit, or `shuffle` is set and
            the function does not take it.
        DataError: the function fails, or returns no re-iterable batches.
    """
    function, arguments = prepared(request)
    data = check_batches(call(function, arguments, request.name, DataError), request.name)
    if "limit" in arguments or (request.limit is None and request.skip == 0):
        return data
    return Part(data, request.skip, request.limit)


def prepared(request: Request) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function of a request and the arguments that it will be called with.

    Raises:
        SettingError: see `python_data`.
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
    if {"limit", "skip"} <= taken:
        arguments |= {"limit": request.limit, "skip": request.skip}
    arguments |= {"split": request.split, **request.name.options}
    check_arguments(function, arguments, request.name, CURE)
    return function, arguments


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
        raise kind(
            f"The factory of '{name.text}' failed{place_of(error)} with {reason_of(error)}; put it"
            " right."
        ) from error


checks["file.py:"] = prepared
