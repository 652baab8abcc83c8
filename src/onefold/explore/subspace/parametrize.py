"""A network whose chosen parameters are plain attributes, so that other tensors can replace them.

A detached parameter is no parameter of the network any more but a plain attribute, as in a replica
of nn.DataParallel. Whatever reads `module.weight`, in forward or when activations are computed
again, reads the tensor that was assigned last. A network that asks its own `parameters()` for a
device or dtype gets these tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from onefold.copying import copied
from onefold.errors import SubspaceError
from onefold.patterns import Patterns, select


@dataclass(frozen=True)
class ParameterRef:
    """One parameter of a network, under all names that share it.

    Attributes:
        name: its first name in the network.
        owners: the modules that have it and the attribute of each, by name.
    """

    name: str
    owners: tuple[tuple[str, str], ...]

    @property
    def module(self) -> str:
        """The name of the module that owns it first."""
        return self.owners[0][0]


def find_parameters(network: nn.Module, include: Patterns, exclude: Patterns) -> list[ParameterRef]:
    """The trainable parameters that the patterns choose, in the order of the network's modules.

    A shared parameter comes once.

    Raises:
        SubspaceError: the network has no trainable parameter.
        SettingError: a pattern matches nothing.
    """
    owners: dict[int, list[tuple[str, str]]] = {}
    for module_name, module in network.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                owners.setdefault(id(parameter), []).append((module_name, name))
    refs = [
        ParameterRef(f"{own[0][0]}.{own[0][1]}".lstrip("."), tuple(own)) for own in owners.values()
    ]
    if not refs:
        raise SubspaceError(
            f"{type(network).__name__} has no trainable parameter, so there is nothing to train a"
            " subspace of."
        )
    if include is None and exclude is None:
        return refs
    chosen = set(select([ref.name for ref in refs], include, exclude))
    return [ref for ref in refs if ref.name in chosen]


def parameters_of(network: nn.Module, refs: Sequence[ParameterRef]) -> list[nn.Parameter]:
    """The network's parameters that the references name, in their order."""
    return [network.get_parameter(ref.name) for ref in refs]


def detach_parameters(network: nn.Module, refs: Sequence[ParameterRef]) -> dict[str, list[str]]:
    """Make the parameters plain attributes without a value, in place.

    Returns:
        For every module that is changed, the order of its parameters' names.
    """
    modules = dict(network.named_modules())
    orders = {name: list(modules[name]._parameters) for ref in refs for name, _ in ref.owners}
    for ref in refs:
        for module, name in ref.owners:
            delattr(modules[module], name)
    for each in modules.values():
        each.__dict__["parameters"] = partial(live_parameters, each)
    return orders


def live_parameters(module: nn.Module, recurse: bool = True) -> Iterator[Tensor]:
    """The tensors that take the place of the parameters of a module with detached ones."""
    for each in module.modules() if recurse else [module]:
        yield from (parameter for parameter in each._parameters.values() if parameter is not None)
        yield from (value for value in each.__dict__.values() if isinstance(value, Tensor))


def assign(modules: Sequence[Sequence[tuple[nn.Module, str]]], tensors: Sequence[Tensor]) -> None:
    """Let the tensors be the values of detached parameters, whose owners are given.

    Recurrent modules have lists of their own weights, which they update in setattr.
    """
    for owners, tensor in zip(modules, tensors, strict=True):
        for module, name in owners:
            setattr(module, name, tensor)


def owners_in(
    network: nn.Module, refs: Sequence[ParameterRef]
) -> list[list[tuple[nn.Module, str]]]:
    """The modules themselves that own each parameter, with the name of the attribute."""
    modules = dict(network.named_modules())
    return [[(modules[module], name) for module, name in ref.owners] for ref in refs]


def plain_copy(
    network: nn.Module,
    refs: Sequence[ParameterRef],
    orders: dict[str, list[str]],
    tensors: Sequence[Tensor],
) -> nn.Module:
    """A copy of a network with detached parameters that has parameters again, in their old order.

    Args:
        network: has detached parameters; it is left as it is.
        refs: the detached parameters.
        orders: what `detach_parameters` returned.
        tensors: the values of the parameters; they are copied.
    """
    result = copied(network)
    modules = dict(result.named_modules())
    for ref, tensor in zip(refs, tensors, strict=True):
        parameter = nn.Parameter(tensor.detach().clone())
        for module, name in ref.owners:
            delattr(modules[module], name)
            setattr(modules[module], name, parameter)
    for each in modules.values():
        del each.__dict__["parameters"]
    for name, order in orders.items():
        own = modules[name]._parameters
        found = {key: own.pop(key) for key in order}
        own.update(found)
    return result
