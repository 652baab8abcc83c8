"""Which parameters are kept away from earlier solutions, and in which groups: those that one module
owns, such as a layer's weight and bias.

A layer, as far as "first", "head" and "last:n" count them, is a module that owns a weight of two or
more dimensions; norms are none, and neither are tokens and positions that a network keeps as raw
parameters. They are counted in the order in which the network registered them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from onefold.errors import PersistentError
from onefold.patterns import Patterns, matches, select

ALL, FIRST, HEAD, LAST = "all", "first", "head", "last:"
Scope = str | Sequence[str]


@dataclass(frozen=True)
class Group:
    """The parameters that are measured together. module: its name, "" for the network's own.
    parameters: their names, shared ones under the first.
    """

    module: str
    parameters: tuple[str, ...]


def groups_of(network: nn.Module, scope: Scope, exclude: Patterns = None) -> list[Group]:
    """The groups of trainable parameters in a scope, in the order of the network.

    scope: "all", "first", "head", "last:n", or patterns of parameter or module names. exclude:
    patterns of what is left out of it.

    Raises:
        PersistentError: there is no trainable parameter, or no such layer. SettingError: a pattern
            matches nothing, or nothing is left.
    """
    first: dict[str, str] = {}  # every name of a trainable parameter -> its first name
    seen: dict[int, str] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        if parameter.requires_grad and parameter.is_floating_point():
            first[name] = seen.setdefault(id(parameter), name)
    if not first:
        raise PersistentError(
            f"{type(network).__name__} has no trainable parameter, so there is nothing to keep away"
            " from a solution."
        )
    names = _named(network, list(first), scope)
    chosen = {
        first[name] for name in (select(names, None, exclude) if exclude is not None else names)
    }
    if exclude is not None:  # a shared parameter is out if one of its names is
        chosen -= {first[name] for name in first if matches(name, exclude)}
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(first.values()):
        if name in chosen:
            groups.setdefault(owner(name), []).append(name)
    return [Group(module, tuple(parameters)) for module, parameters in groups.items()]


def owner(name: str) -> str:
    """The module that a parameter belongs to; what torch.nn.utils.parametrize keeps beside a layer
    belongs to the layer.
    """
    module = name.rpartition(".")[0]
    return f".{module}".partition(".parametrizations.")[0].lstrip(".")


def _named(network: nn.Module, names: list[str], scope: Scope) -> list[str]:
    """Those of the names that the scope means."""
    if scope == ALL:
        return names
    if not isinstance(scope, str) or not (scope in (FIRST, HEAD) or scope.startswith(LAST)):
        return select(names, [scope] if isinstance(scope, str) else list(scope), None)
    weights = [
        name
        for name in names
        if "weight" in name[len(owner(name)) :] and network.get_parameter(name).dim() > 1
    ]
    layers = list(dict.fromkeys(map(owner, weights))) or list(dict.fromkeys(map(owner, names)))
    if scope == FIRST:
        wanted = layers[:1]
    else:
        count = 1 if scope == HEAD else _count(scope, len(layers))
        wanted = layers[len(layers) - count :]
    return [name for name in names if owner(name) in wanted]


def _count(scope: str, layers: int) -> int:
    text = scope.removeprefix(LAST)
    if not text.isdecimal() or not 1 <= int(text) <= layers:
        raise PersistentError(
            f"The scope '{scope}' names no layers; this network has {layers}, so give last:n with n"
            f" from 1 to {layers}."
        )
    return int(text)
