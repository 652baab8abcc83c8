"""The numbers in the attributes of modules and configs, compared and set."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from torch import nn

_INNER = ("_parameters", "_buffers", "_modules", "training")


def changed_sizes(before: nn.Module, after: nn.Module) -> Iterator[tuple[str, str, Any]]:
    """Yield (module, attribute, new value) of every number, or row of numbers, that differs."""
    new = dict(after.named_modules(remove_duplicate=False))
    for name, module in before.named_modules(remove_duplicate=False):
        theirs = vars(new[name]) if name in new else {}
        for attribute, value in vars(module).items():
            if attribute in _INNER or not is_size(value) or attribute not in theirs:
                continue
            if is_size(theirs[attribute]) and theirs[attribute] != value:
                found = theirs[attribute]
                yield name, attribute, list(found) if isinstance(found, tuple) else found


def is_size(value: Any) -> bool:
    """Whether a value is a number, or a tuple or list of whole numbers."""
    if isinstance(value, tuple | list):
        return bool(value) and all(type(entry) is int for entry in value)
    return type(value) in (int, float)


def set_size(owner: Any, attribute: str, value: Any) -> None:
    """Give an attribute that is a size another value; a tuple stays one, and so does a list."""
    kind = type(getattr(owner, attribute))
    setattr(owner, attribute, kind(value) if isinstance(value, tuple | list) else value)


def copy_sizes(source: nn.Module, target: nn.Module, without: Collection[tuple[str, str]]) -> None:
    """Give the modules of one network the numbers of another one of the same class.

    Args:
        source: the network that has them.
        target: is changed.
        without: (module, attribute) of numbers that stay.
    """
    modules = dict(target.named_modules(remove_duplicate=False))
    for name, attribute, value in list(changed_sizes(target, source)):
        if (name, attribute) not in without:
            set_size(modules[name], attribute, value)


def config_numbers(config: Any, prefix: str = "") -> dict[str, tuple[Any, str]]:
    """Dotted name -> (holder, name) of every whole number in a config and the configs in it."""
    found = {}
    for name, value in vars(config).items():
        if type(value) is int:
            found[prefix + name] = (config, name)
        elif type(value).__name__.endswith("Config"):
            found |= config_numbers(value, f"{prefix}{name}.")
    return found
