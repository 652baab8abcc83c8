"""Where a network keeps the tensors that a subspace takes over, and how other tensors come to stand
there.

A place is one parameter of the network, under all names that share it. Once taken over it is no
parameter of the network any more but a plain attribute, as in a replica of nn.DataParallel:
whatever reads `module.weight`, in forward or when activations are computed again, reads the tensor
that was put there last. Networks that ask their own `parameters()` for a device or dtype are shown
these tensors.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from onefold.errors import SubspaceError
from onefold.patterns import Patterns, select


@dataclass(frozen=True)
class Place:
    """One parameter. name: its first name in the network. owners: the modules and attributes that
    hold it, by name.
    """

    name: str
    owners: tuple[tuple[str, str], ...]

    @property
    def module(self) -> str:
        """The name of the module that owns it first."""
        return self.owners[0][0]


def places_of(network: nn.Module, include: Patterns, exclude: Patterns) -> list[Place]:
    """The trainable parameters that the patterns choose, in the order of the network's modules;
    shared ones once.

    Raises:
        SubspaceError: the network has no trainable parameter. SettingError: a pattern matches
            nothing.
    """
    owners: dict[int, list[tuple[str, str]]] = {}
    for module_name, module in network.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                owners.setdefault(id(parameter), []).append((module_name, name))
    places = [Place(f"{own[0][0]}.{own[0][1]}".lstrip("."), tuple(own)) for own in owners.values()]
    if not places:
        raise SubspaceError(
            f"{type(network).__name__} has no trainable parameter, so there is nothing to train a"
            " subspace of."
        )
    if include is None and exclude is None:
        return places
    chosen = set(select([place.name for place in places], include, exclude))
    return [place for place in places if place.name in chosen]


def parameters_at(network: nn.Module, places: Sequence[Place]) -> list[nn.Parameter]:
    """The network's parameters at these places."""
    return [network.get_parameter(place.name) for place in places]


def take_over(network: nn.Module, places: Sequence[Place]) -> dict[str, list[str]]:
    """Make the places plain attributes, which hold nothing yet.

    Returns, for every module touched, the order of its parameters' names.
    """
    modules = dict(network.named_modules())
    orders = {name: list(modules[name]._parameters) for place in places for name, _ in place.owners}
    for place in places:
        for module, name in place.owners:
            delattr(modules[module], name)
    for each in modules.values():
        each.__dict__["parameters"] = partial(standing, each)
    return orders


def standing(module: nn.Module, recurse: bool = True) -> Iterator[Tensor]:
    """What stands for the parameters of a module that was taken over."""
    for each in module.modules() if recurse else [module]:
        yield from (parameter for parameter in each._parameters.values() if parameter is not None)
        yield from (value for value in each.__dict__.values() if isinstance(value, Tensor))


def put(modules: Sequence[Sequence[tuple[nn.Module, str]]], tensors: Sequence[Tensor]) -> None:
    """Let the tensors stand at the places whose owners are given.

    Recurrent modules keep lists of their own, which they mend in setattr.
    """
    for owners, tensor in zip(modules, tensors, strict=True):
        for module, name in owners:
            setattr(module, name, tensor)


def owners_in(network: nn.Module, places: Sequence[Place]) -> list[list[tuple[nn.Module, str]]]:
    """The modules themselves that own each place."""
    modules = dict(network.named_modules())
    return [[(modules[module], name) for module, name in place.owners] for place in places]


def plain_copy(
    network: nn.Module,
    places: Sequence[Place],
    orders: dict[str, list[str]],
    tensors: Sequence[Tensor],
) -> nn.Module:
    """A copy of a network that was taken over, with parameters again, in their old order; `tensors`
    become their values.
    """
    result = copy.deepcopy(network)
    modules = dict(result.named_modules())
    for place, tensor in zip(places, tensors, strict=True):
        parameter = nn.Parameter(tensor.detach().clone())
        for module, name in place.owners:
            delattr(modules[module], name)
            setattr(modules[module], name, parameter)
    for each in modules.values():
        del each.__dict__["parameters"]
    for name, order in orders.items():
        own = modules[name]._parameters
        found = {key: own.pop(key) for key in order}
        own.update(found)
    return result
