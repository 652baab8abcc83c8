"""The parameters that are repelled from earlier solutions, and their groups.

A group holds the parameters that one module owns, such as a layer's weight and bias.

"first", "head" and "last:n" count layers in the order in which the network registered them. A layer
is a module that owns a weight of two or more dimensions. Norms are no layers, and neither are
tokens and positions that a network holds as raw parameters.
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
    """Parameters that are measured together.

    Attributes:
        module: the name of the module that owns them, "" for the network itself.
        parameters: their names; a shared one has its first name.
    """

    module: str
    parameters: tuple[str, ...]


def groups_of(network: nn.Module, scope: Scope, exclude: Patterns = None) -> list[Group]:
    """The groups of trainable parameters in a scope, in the order of the network.

    Args:
        network: owns the parameters.
        scope: "all", "first", "head", "last:n", or patterns of parameter or module names.
        exclude: patterns of parameters that are left out.

    Raises:
        PersistentError: there is no trainable parameter, or no such layer.
        SettingError: a pattern matches nothing, or nothing is left.
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
    """The name of the module that a parameter belongs to.

    Parameters that torch.nn.utils.parametrize holds beside a layer belong to the layer.
    """
    module = name.rpartition(".")[0]
    return f".{module}".partition(".parametrizations.")[0].lstrip(".")


def _named(network: nn.Module, names: list[str], scope: Scope) -> list[str]:
    """The names that the scope means."""
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
