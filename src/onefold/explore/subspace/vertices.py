"""The vertices of a subspace: where their first values come from, and the modules that hold them."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from onefold.errors import SubspaceError
from onefold.explore.subspace.initialization import Initialiser, fresh_tensors
from onefold.explore.subspace.parametrize import Place, parameters_at


def vertex_values(
    model: nn.Module,
    places: Sequence[Place],
    count: int,
    init: Initialiser | None,
    starts: Sequence[nn.Module | None],
    seed: int,
) -> list[list[Tensor]]:
    """The first values of every vertex: of the start given for it, the model's own for the first,
    else fresh ones.
    """
    if len(starts) > count:
        raise SubspaceError(
            f"There are {len(starts)} starts but only {count} vertices; pass"
            f" vertices={len(starts)}."
        )
    values = []
    for k in range(count):
        start = starts[k] if k < len(starts) else None
        if start is None and k > 0:
            values.append(
                fresh_tensors(
                    model, places, init, seed=int(np.random.default_rng([seed, k]).integers(2**62))
                )
            )
            continue
        if start is not None:
            check_alike(model, start, f"start {k}")
        found = parameters_at(start or model, places)
        for place, tensor in zip(places, found, strict=True):
            if not bool(tensor.isfinite().all()):
                raise SubspaceError(
                    f"'{place.name}' of {f'start {k}' if start is not None else 'the model'} holds"
                    " NaN or infinity; leave this network out."
                )
        own = parameters_at(model, places)
        values.append(
            [tensor.detach().to(like.dtype) for tensor, like in zip(found, own, strict=True)]
        )
    return values


def check_alike(model: nn.Module, other: nn.Module, what: str) -> None:
    """Raises SubspaceError where two networks differ in class or in the names or shapes of their
    parameters.
    """
    if type(model) is not type(other):
        raise SubspaceError(
            f"{what[:1].upper()}{what[1:]} is a {type(other).__name__}, the model a"
            f" {type(model).__name__}; they must be of one architecture."
        )
    shapes, others = (
        {name: tuple(p.shape) for name, p in each.named_parameters()} for each in (model, other)
    )
    for name in [*shapes, *others]:
        if shapes.get(name) != others.get(name):
            own, theirs = (
                f"of shape {each[name]}" if name in each else "not at all"
                for each in (shapes, others)
            )
            raise SubspaceError(
                f"{what} has '{name}' {theirs}, the model {own}; they must be of one architecture."
            )


def network_between(a: nn.Module, b: nn.Module, share: float) -> nn.Module:
    """A network on the straight line from a (share 0) to b (share 1)."""
    result = copy.deepcopy(a)
    with torch.no_grad():
        for own, other in zip(result.parameters(), b.parameters(), strict=True):
            own.lerp_(other.to(own), share)
    return result


def as_module(places: Sequence[Place], values: Sequence[Tensor], trained: bool) -> nn.Module:
    """A module whose parameters have the names that they have in the network."""
    root = nn.Module()
    for place, value in zip(places, values, strict=True):
        *path, name = place.name.split(".")
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        module.register_parameter(name, nn.Parameter(value.detach().clone(), trained))
    return root
