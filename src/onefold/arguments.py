"""Types of arguments: a value of a wrong type gets one sentence before anything else is done.

`checked` reads the annotations of a function, `check_fields` those of a dataclass. What can be
judged is said in `annotations.py`. Ranges and names are checked by the functions themselves.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ParamSpec, TypeVar

from torch import nn

from onefold.annotations import REFUSED, Kind, hints_of, kinds_of
from onefold.errors import MembersError, shown
from onefold.given import SINGLE, check_ready, hint_for, no_network

P = ParamSpec("P")
R = TypeVar("R")
OFF = ("align", "repair")  # steps that "none" leaves out
MEMBERS = ("models", "model", "members", "networks", "teachers")  # parameters that are members


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator that checks the types of a public function's arguments.

    Missing and unknown arguments are left to Python.

    Args:
        function: a function, or the `__init__` of a class. Its annotations are read at the first
            call.

    Returns:
        The function, which raises SettingError, MembersError (networks) or DataError (batches) for
        an argument of a wrong type.
    """
    owner = function.__qualname__.removesuffix(".__init__")

    @functools.cache
    def kinds() -> tuple[list[str], dict[str, Kind]]:
        parameters = inspect.signature(function).parameters.values()
        ordered = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        open_ended = {p.name for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        hints = hints_of(function.__annotations__, function.__module__)
        return ordered, kinds_of(
            {k: v for k, v in hints.items() if k not in {"return", *open_ended}}
        )

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        ordered, known = kinds()
        given: list[Any] = list(args)
        for place, (name, value) in enumerate(zip(ordered, args, strict=False)):
            if name in known:
                given[place] = _taken(known[name], owner, name, value, function)
        named: dict[str, Any] = kwargs
        for name, value in named.items():
            if name in known:
                named[name] = _taken(known[name], owner, name, value, function)
        return function(*given, **named)

    return call


def check_fields(settings: Any) -> None:
    """Check the types of a dataclass's fields; call it in `__post_init__`.

    Args:
        settings: the object. Numbers of numpy and torch in its fields become plain ones.

    Raises:
        SettingError, MembersError, DataError: a field is of a wrong type.
    """
    kind: Any = type(settings)
    for name, known in _field_kinds(kind).items():
        value = getattr(settings, name)
        taken = _taken(known, kind.__name__, name, value)
        if taken is not value:
            object.__setattr__(settings, name, taken)


@functools.cache
def _field_kinds(kind: type) -> dict[str, Kind]:
    hints: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        hints |= hints_of(inspect.get_annotations(base), base.__module__)
    return kinds_of({f.name: hints[f.name] for f in dataclasses.fields(kind) if f.name in hints})


def _taken(kind: Kind, owner: str, name: str, value: Any, function: Any = None) -> Any:
    """The value as the function gets it, lists of networks as such.

    Raises the error of the kind if it is refused.
    """
    if kind.networks and isinstance(value, nn.ModuleList | Iterator):
        value = list(value)
    taken = kind.take(value)
    listed = isinstance(value, list | tuple | nn.ModuleList)
    if taken is not REFUSED:
        if kind.network and isinstance(value, nn.Module):
            check_ready(value)
        if kind.networks and listed:
            _check_each(value, name)
        return taken
    if kind.networks and isinstance(value, nn.Module):
        if isinstance(value, nn.ModuleDict):
            raise MembersError(SINGLE.replace("a list of them", "list(models.values())"))
        raise MembersError(SINGLE)
    if kind.networks and listed:
        _check_each(value, name)
        raise no_network(None, _entry(name, list(value).index(None)))
    hint = hint_for(value, kind.networks) if kind.network or kind.networks else ""
    if isinstance(value, type) and issubclass(value, kind.instances) and _needs_nothing(value):
        hint = f"; write {value.__name__}()"
    if value is None and function is not None:
        hint = _default(function, name)
    raise kind.error(f"{owner} takes {name} as {kind.one}, not {shown(value)}{hint}.")


def _default(function: Any, name: str) -> str:
    """What to do instead of passing None, as "; words"; "" for a parameter without a default."""
    default = inspect.signature(function).parameters[name].default
    if not isinstance(default, str | int | float):
        return ""
    switched = ", or write 'none'" * (name in OFF and isinstance(default, str))
    return f"; leave it out for its default, {default!r}{switched}"


def _check_each(members: Iterable[Any], name: str) -> None:
    """Refuse what is no network among several, and networks that are not ready."""
    for k, member in enumerate(members):
        if isinstance(member, nn.Module):
            check_ready(member, _entry(name, k))
        elif member is not None:
            raise no_network(member, _entry(name, k))


def _entry(name: str, k: int) -> str:
    return f"Member {k}" if name in MEMBERS else f"{name}[{k}]"


def _needs_nothing(kind: type) -> bool:
    """Whether a class can be called without arguments."""
    try:
        inspect.signature(kind).bind()
    except (TypeError, ValueError):
        return False
    return True
