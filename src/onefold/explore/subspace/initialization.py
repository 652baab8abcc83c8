"""Initial values of the vertices that start on their own.

The vertices must not start as copies of one network. The likeness of copies is 1 and its gradient
is 0, so that only the random draws would move them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from onefold.copying import copied
from onefold.errors import SubspaceError
from onefold.explore.subspace.parametrize import ParameterRef, parameters_of

Initializer = Callable[[nn.Module], object]


def initial_tensors(
    model: nn.Module, refs: Sequence[ParameterRef], initializer: Initializer | None, seed: int
) -> list[Tensor]:
    """New values for some parameters of a network, drawn as a whole network is initialised.

    The generators of the process are left as they were. The model is copied.

    Args:
        model: the network that has the parameters.
        refs: which of its parameters.
        initializer: is given a copy of the model and initialises its weights in place. None calls
            `reset_parameters` of the modules that own the parameters.
        seed: of the draw.

    Returns:
        One detached tensor for each of `refs`, shaped as the parameter.

    Raises:
        SubspaceError: a module has parameters but no `reset_parameters`, or the initializer left a
            weight as it was.
    """
    network = copied(model)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        if initializer is not None:
            initializer(network)
        else:
            _reset(network, refs)
    before, after = parameters_of(model, refs), parameters_of(network, refs)
    if initializer is not None:
        same = [
            p.name
            for p, old, new in zip(refs, before, after, strict=True)
            if old.dim() > 1 and torch.equal(old, new) and old.any()
        ]
        if same:
            others = f" and {len(same) - 1} other weights" * (len(same) > 1)
            raise SubspaceError(
                f"The initializer left '{same[0]}'{others} as it was, but every vertex must start"
                " on its own; let it set them in place, or leave them out with exclude=."
            )
    return [parameter.detach() for parameter in after]


def _reset(network: nn.Module, refs: Sequence[ParameterRef]) -> None:
    modules = dict(network.named_modules())
    wanted = dict.fromkeys(ref.module for ref in refs)
    unable = [name for name in wanted if _resetter(modules[name]) is None]
    if unable:
        own = ", ".join(ref.name for ref in refs if ref.module == unable[0])
        what = (
            f"'{unable[0]}', a {type(modules[unable[0]]).__name__},"
            if unable[0]
            else f"{type(network).__name__} itself"
        )
        more = (
            f" (as do {len(unable) - 1} other modules:"
            f" {', '.join(unable[1:4])}{', ...' * (len(unable) > 4)})"
            if len(unable) > 1
            else ""
        )
        raise SubspaceError(
            f"{what} owns {own} but has no reset_parameters{more}, so a new vertex cannot be"
            " initialised; pass init=, a function that initialises a whole network in place, or"
            " leave these out with exclude=."
        )
    for name in wanted:
        if (reset := _resetter(modules[name])) is not None:
            reset()


def _resetter(module: nn.Module) -> Callable[[], object] | None:
    """The method that initialises the module's own parameters, or None.

    torch's attention calls it by a private name.
    """
    found = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    return found if callable(found) else None
