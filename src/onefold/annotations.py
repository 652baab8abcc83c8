"""What annotations ask for, as kinds that take or refuse a value.

Judged are numbers, strings, paths, networks, tensors, batches, functions, sequences and instances
of classes. What an annotation leaves open (Any, a Protocol, a name that only type checkers see) is
not judged.
"""

from __future__ import annotations

import numbers
import operator
import os
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, Union

import numpy as np
import torch
from torch import Tensor, nn

from onefold.errors import DataError, MembersError, OnefoldError, SettingError

REFUSED: Any = object()  # what a kind gives for a value that it does not take


@dataclass(frozen=True)
class Kind:
    """What an annotation asks for.

    Attributes:
        names: its names in a sentence, as "a whole number"; several for several choices.
        many: the name of several values.
        take: the value as the function gets it, or REFUSED. Numbers of numpy and torch become plain
            ones.
        error: the class of the error.
        instances: the classes of settings that a value may be an instance of.
        networks: whether a value may be several networks.
        network: whether a value may be one network.
    """

    names: tuple[str, ...]
    many: str
    take: Callable[[Any], Any]
    error: type[OnefoldError] = SettingError
    instances: tuple[type, ...] = ()
    networks: bool = False
    network: bool = False

    @property
    def one(self) -> str:
        """The names as one phrase."""
        *first, last = dict.fromkeys(self.names)
        return f"{', '.join(first)} or {last}" if first else last


def hints_of(annotations: Mapping[str, Any], module: str) -> dict[str, Any]:
    """The annotations as types, without those whose names are unknown at run time."""
    found: dict[str, Any] = {}
    for name, text in annotations.items():
        holder = types.SimpleNamespace(__annotations__={name: text})
        try:
            found |= typing.get_type_hints(holder, vars(sys.modules[module]))
        except (NameError, TypeError, AttributeError, SyntaxError):
            continue
    return found


def kinds_of(hints: Mapping[str, Any]) -> dict[str, Kind]:
    """Name -> kind, of those that can be judged."""
    found = {name: _kind(hint) for name, hint in hints.items()}
    return {name: kind for name, kind in found.items() if kind is not None}


def _kind(hint: Any) -> Kind | None:
    """The kind that an annotation asks for; None if it cannot be judged."""
    if isinstance(hint, TypeVar):
        hint = hint.__bound__
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Iterable and parts != (Any,):  # not batches but a few values
        many = next((part.many for part in map(_kind, parts) if part is not None), "values")
        return Kind((f"a list of {many}",), f"lists of {many}", _data)
    if (origin or hint) in SIMPLE:
        return SIMPLE[origin or hint]
    if origin in (Union, types.UnionType):
        return _union([_kind(part) for part in parts])
    if origin is Literal:
        names, sorts = tuple(map(repr, parts)), tuple({type(part) for part in parts})
        return Kind(names, "names", lambda v: v if isinstance(v, sorts) else REFUSED)
    if origin in (list, tuple, Sequence):
        return _sequence(_union([_kind(part) for part in parts if part is not ...]))
    hint = origin or hint
    open_ended = hint in (Any, object) or getattr(hint, "_is_protocol", False)
    if open_ended or not isinstance(hint, type):
        return None
    name = f"{'an' if hint.__name__[0] in 'AEIOU' else 'a'} {hint.__name__}"
    return Kind((name,), f"{hint.__name__} objects", _instances(hint), instances=(hint,))


def _union(parts: Sequence[Kind | None]) -> Kind | None:
    """The kind of what one of several kinds takes; None if one of them cannot be judged."""
    judged = [part for part in parts if part is not None]
    if len(judged) < len(parts) or not judged:
        return None
    if len(judged) == 1:
        return judged[0]

    def take(value: Any) -> Any:
        results = [part.take(value) for part in judged]
        if any(result is value for result in results):
            return value
        return next((result for result in results if result is not REFUSED), REFUSED)

    errors = {part.error for part in judged if part is not NOTHING}
    return Kind(
        tuple(name for part in judged for name in part.names),
        " or ".join(dict.fromkeys(part.many for part in judged)),
        take,
        errors.pop() if len(errors) == 1 else SettingError,
        tuple(each for part in judged for each in part.instances),
        any(part.networks for part in judged),
        any(part.network for part in judged),
    )


def _sequence(item: Kind | None) -> Kind:
    """The kind of sequences of one kind. Only what is in memory as a list or tuple is looked at."""
    many = item.many if item is not None else "values"
    networks = item is not None and item.network
    error = item.error if item is not None else SettingError

    def take(value: Any) -> Any:
        if isinstance(value, Tensor | np.ndarray) and error is SettingError and value.ndim:
            value = value.tolist()
        listed = isinstance(value, Sequence | nn.ModuleList) and not isinstance(value, str | bytes)
        if not listed:
            return REFUSED
        if item is None or not isinstance(value, list | tuple | nn.ModuleList):
            return value
        taken = [item.take(part) for part in value]
        if any(part is REFUSED for part in taken):
            return REFUSED
        same = all(a is b for a, b in zip(taken, value, strict=True))
        return value if same else type(value)(taken)

    return Kind((f"a list of {many}",), f"lists of {many}", take, error, networks=networks)


def _instances(kind: Any) -> Callable[[Any], Any]:
    return lambda value: value if isinstance(value, kind) else REFUSED


def _whole(value: Any) -> Any:
    if type(value) is int:
        return value
    if _is_truth(value):
        return REFUSED
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return REFUSED


def _number(value: Any) -> Any:
    if isinstance(value, float | int) and type(value) is not bool:
        return value
    if _is_truth(value):
        return REFUSED
    plain = isinstance(value, numbers.Real)
    if isinstance(value, Tensor):
        plain = value.dim() == 0 and not value.is_complex()
    return float(value) if plain else REFUSED


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")


def _truth(value: Any) -> Any:
    return bool(value) if isinstance(value, bool | np.bool_) else REFUSED


def _callable(value: Any) -> Any:
    return value if callable(value) and not isinstance(value, type) else REFUSED


def _data(value: Any) -> Any:
    """Batches: anything that can be iterated over but strings, dicts and networks."""
    apart = isinstance(value, str | bytes | Mapping | nn.Module | type)
    fits = isinstance(value, Iterable) or hasattr(value, "__getitem__")
    return value if fits and not apart else REFUSED


NOTHING = Kind(("None",), "None", _instances(type(None)))
NETWORK = Kind(("a network",), "networks", _instances(nn.Module), MembersError, network=True)
SIMPLE: dict[Any, Kind] = {
    int: Kind(("a whole number",), "whole numbers", _whole),
    float: Kind(("a number",), "numbers", _number),
    bool: Kind(("True", "False"), "truth values", _truth),
    str: Kind(("a string",), "strings", _instances(str)),
    type(None): NOTHING,
    nn.Module: NETWORK,
    Tensor: Kind(("a tensor",), "tensors", _instances(Tensor)),
    torch.device: Kind(("a device",), "devices", _instances(torch.device)),
    os.PathLike: Kind(("a path",), "paths", _instances(os.PathLike)),
    Mapping: Kind(("a dict",), "dicts", _instances(Mapping)),
    Callable: Kind(("a function",), "functions", _callable),
    Iterable: Kind(("a list or DataLoader of batches",), "batches", _data, DataError),
}
