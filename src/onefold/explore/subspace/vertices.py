"""The vertices of a subspace: their first values, and the modules that hold them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from onefold.copying import copied
from onefold.errors import SubspaceError
from onefold.explore.subspace.initialization import Initializer, initial_tensors
from onefold.explore.subspace.parametrize import ParameterRef, parameters_of
from onefold.given import same_class


def vertex_values(
    model: nn.Module,
    refs: Sequence[ParameterRef],
    count: int,
    init: Initializer | None,
    starts: Sequence[nn.Module | None],
    seed: int,
) -> list[list[Tensor]]:
    """The first values of every vertex.

    Args:
        model: the network; the first vertex takes its values if no start is given for it.
        refs: the parameters that differ between vertices.
        count: how many vertices.
        init: initialises a network in place, for a vertex without a start (`initial_tensors`).
        starts: for the first vertices a network each, or None.
        seed: of the initialisation.

    Returns:
        For each vertex one tensor for each of `refs`, in the model's dtypes.

    Raises:
        SubspaceError: there are too many starts, a start differs from the model in architecture or
            holds NaN or infinity, or a vertex cannot be initialised.
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
                initial_tensors(
                    model, refs, init, seed=int(np.random.default_rng([seed, k]).integers(2**62))
                )
            )
            continue
        if start is not None:
            check_alike(model, start, f"start {k}")
        found = parameters_of(start or model, refs)
        for ref, tensor in zip(refs, found, strict=True):
            if not bool(tensor.detach().isfinite().all()):
                raise SubspaceError(
                    f"'{ref.name}' of {f'start {k}' if start is not None else 'the model'} holds"
                    " NaN or infinity; leave this network out."
                )
        own = parameters_of(model, refs)
        values.append(
            [tensor.detach().to(like.dtype) for tensor, like in zip(found, own, strict=True)]
        )
    return values


def check_alike(model: nn.Module, other: nn.Module, what: str) -> None:
    """Check that two networks have one class and equal names and shapes of parameters.

    Raises:
        SubspaceError: they do not; `what` is the name of the other network in the message.
    """
    if not same_class(model, other):
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
    """A new network on the straight line from a (share 0) to b (share 1)."""
    result = copied(a)
    with torch.no_grad():
        for own, other in zip(result.parameters(), b.parameters(), strict=True):
            own.lerp_(other.to(own), share)
    return result


def as_module(refs: Sequence[ParameterRef], values: Sequence[Tensor], trained: bool) -> nn.Module:
    """A module whose parameters have the values, under the names that they have in the network."""
    root = nn.Module()
    for ref, value in zip(refs, values, strict=True):
        *path, name = ref.name.split(".")
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        module.register_parameter(name, nn.Parameter(value.detach().clone(), trained))
    return root
