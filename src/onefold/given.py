"""What is given where a network is wanted: the sentence for anything that is none, or not ready."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Iterator, Mapping, MappingView, Set
from functools import partial
from typing import Any

from torch import nn
from torch.fx import GraphModule
from torch.nn.parameter import is_lazy

from onefold.errors import MembersError, kind_of

SINGLE = "1 network was given; pass a list of them."


def check_ready(network: nn.Module, who: str = "") -> None:
    """Refuse a network with weights that have no shape yet.

    Args:
        network: the network.
        who: its name in the message, such as "Member 1"; "" for its class.

    Raises:
        MembersError: a lazy module did not run yet.
    """
    for place, module in network.named_modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if is_lazy(tensor):
                kind = type(network).__name__
                raise MembersError(
                    f"{f'{who} ({kind})' if who else kind} has no weights yet, as"
                    f" '{f'{place}.{name}'.lstrip('.')}' belongs to a lazy module that did not run;"
                    " run one batch through the network first."
                )


def same_class(network: nn.Module, other: nn.Module) -> bool:
    """Whether two networks are of one class.

    Every graph of torch.fx has a class of its own, so that two of them are compared by their code.
    """
    if isinstance(network, GraphModule) and isinstance(other, GraphModule):
        return bool(network.code == other.code)
    return type(network) is type(other)


def no_network(value: Any, who: str, several: bool = True) -> MembersError:
    """The error for a member that is no network.

    Args:
        value: what was given.
        who: its name in the message, such as "Member 1".
        several: whether members on disk may take its place.
    """
    todo = _todo(value, several) or "load it into its network first"
    return MembersError(f"{who} is {_described(value)}, not an nn.Module; {todo}.")


def hint_for(value: Any, several: bool) -> str:
    """What to do with a value that is no network or no list of networks, as "; words" or "".

    Args:
        value: what was given.
        several: whether a list of networks is wanted.
    """
    todo = _todo(value, several)
    if several and isinstance(value, Mapping) and _networks_in(value.values()):
        todo = "pass list(models.values())"
    elif several and isinstance(value, Iterator | Set | MappingView):
        todo = "pass list(models)"
    elif not several and isinstance(value, list | tuple) and _networks_in(value):
        todo = "pass one of its networks"
    return todo and f"; {todo}"


def _described(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, str | os.PathLike):
        return f"the path {os.fspath(value)!r}"[:80]
    held = isinstance(value, list | tuple) and _networks_in(value)
    return f"{kind_of(value)} that holds a network" if held else kind_of(value)


def _todo(value: Any, several: bool) -> str:
    """What to do instead of passing this value; "" if nothing tells what was meant."""
    if isinstance(value, str | os.PathLike):
        disk = ", or pass onefold.sources.DiskMembers(build, paths)" * several
        return f"load it by network.load_state_dict(onefold.load(path)){disk}"
    if isinstance(value, Mapping):
        found = [key for key, entry in value.items() if isinstance(entry, nn.Module)]
        if found:
            return f"pass its entry {found[0]!r}"
        return "load it into its network first, by network.load_state_dict(state)"
    if isinstance(value, list | tuple) and _networks_in(value):
        return "pass the networks alone"
    if isinstance(value, type) and issubclass(value, nn.Module):
        return f"pass a network, as {value.__name__}(...)"
    if not isinstance(value, type) and isinstance(getattr(value, "model", None), nn.Module):
        return "pass its .model"
    if inspect.isroutine(value) or isinstance(value, partial):
        return "pass the network that it makes"
    return ""


def _networks_in(values: Iterable[Any]) -> bool:
    return any(isinstance(value, nn.Module) for value in values)
