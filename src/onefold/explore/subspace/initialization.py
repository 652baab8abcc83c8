"""Initial values of the vertices that start on their own.

The vertices must not start as copies of one network. The likeness of copies is 1 and its gradient
is 0, so that only the random draws would move them apart.

A network is drawn anew as its constructor does it: first every module by torch's initialisation
(`reset_parameters`), then the whole by the network's own (`own_initializers`), if it has one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from onefold.copying import copied
from onefold.errors import OnefoldError, SubspaceError
from onefold.explore.subspace.parametrize import ParameterRef, parameters_of

Initializer = Callable[[nn.Module], object]
DRAWN = "_is_hf_initialized"  # by which transformers passes over what it initialised once


def initial_tensors(
    model: nn.Module, refs: Sequence[ParameterRef], initializer: Initializer | None, seed: int
) -> list[Tensor]:
    """New values for some parameters of a network, drawn as a whole network is initialised.

    The generators of the process are left as they were. The model is copied.

    Args:
        model: the network that has the parameters.
        refs: which of its parameters.
        initializer: is given a copy of the model and initialises its weights in place. None calls
            `reset_parameters` of the modules that own the parameters, and then the network's own
            `init_weights` or `_init_weights`.
        seed: of the draw.

    Returns:
        One detached tensor for each of `refs`, shaped as the parameter.

    Raises:
        SubspaceError: a module has parameters that neither its `reset_parameters` nor the network
            initialises, or the initializer left a weight as it was.
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


def own_initializers(network: nn.Module) -> Iterator[Callable[[], object]]:
    """The functions by which a network initialises all of its weights itself.

    A method `init_weights()` (transformers, timm) does it for a module and all below it. So does
    `init_weights(module)` or `_init_weights(module)`, applied to each of them. The outermost module
    that has one counts, and else those below it.
    """
    for name in ("init_weights", "_init_weights"):
        found = getattr(network, name, None)
        if not callable(found) or isinstance(found, nn.Module):
            continue
        if _takes(found):
            yield partial(_anew, network, found)
            return
        if _takes(found, network):
            yield partial(_anew, network, partial(network.apply, found))
            return
    for child in network.children():
        yield from own_initializers(child)


def _reset(network: nn.Module, refs: Sequence[ParameterRef]) -> None:
    """Initialise the parameters in place.

    Raises:
        SubspaceError: a module cannot be initialised.
    """
    modules = dict(network.named_modules())
    wanted = dict.fromkeys(ref.module for ref in refs)
    unable = [name for name in wanted if _resetter(modules[name]) is None]
    for name in wanted:
        if (reset := _resetter(modules[name])) is not None:
            reset()
    left = [ref for ref in refs if ref.module in unable]
    for parameter in parameters_of(network, left):
        parameter.fill_(torch.nan)  # to see whether it is set
    for initialize in own_initializers(network):
        try:
            initialize()
        except OnefoldError:
            raise
        except Exception as error:  # a network may do anything
            reason = str(error).strip().split("\n")[0][:200]
            raise SubspaceError(
                f"{type(network).__name__} cannot initialise its weights by itself ({reason}); pass"
                " init=, a function that initialises a whole network in place."
            ) from error
    unset = [
        ref
        for ref, parameter in zip(left, parameters_of(network, left), strict=True)
        if not bool(parameter.isfinite().all())
    ]
    if unset:
        raise SubspaceError(_refusal(network, unset))


def _refusal(network: nn.Module, unset: Sequence[ParameterRef]) -> str:
    """Why these parameters have no new values, as one sentence."""
    unable = list(dict.fromkeys(ref.module for ref in unset))
    own = ", ".join(ref.name for ref in unset if ref.module == unable[0])
    kind = type(network.get_submodule(unable[0])).__name__
    what = f"'{unable[0]}', a {kind}," if unable[0] else f"{kind} itself"
    more = (
        f" (as do {len(unable) - 1} other modules:"
        f" {', '.join(unable[1:4])}{', ...' * (len(unable) > 4)})"
        if len(unable) > 1
        else ""
    )
    return (
        f"{what} owns {own} but has no reset_parameters{more}, so a new vertex cannot be"
        " initialised; pass init=, a function that initialises a whole network in place, or"
        " leave these out with exclude=."
    )


def _resetter(module: nn.Module) -> Callable[[], object] | None:
    """The method that initialises the module's own parameters, or None.

    torch's attention calls it by a private name.
    """
    found = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    return found if callable(found) else None


def _takes(function: Any, *arguments: object) -> bool:
    """Whether a function can be called with these arguments."""
    try:
        inspect.signature(function).bind(*arguments)
    except (TypeError, ValueError):
        return False
    return True


def _anew(network: nn.Module, initialize: Callable[[], object]) -> None:
    """Initialise a network that may hold marks of having been initialised before."""
    for each in (*network.modules(), *network.parameters(), *network.buffers()):
        vars(each).pop(DRAWN, None)
    initialize()


def other_starts(
    model: nn.Module, refs: Sequence[ParameterRef], factory: Callable[[], nn.Module], count: int
) -> list[nn.Module | None]:
    """Further networks as the architecture begins; None for one that begins as `model` does.

    Args:
        model: the first network.
        refs: the parameters that are compared.
        factory: makes a network of the architecture, and draws its weights from torch's generator.
        count: how many.
    """
    first = parameters_of(model, refs)
    made = [factory() for _ in range(count)]
    return [None if _alike(first, parameters_of(other, refs)) else other for other in made]


def _alike(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Whether a weight that is not filled with one value is the same in both, as if pretrained."""
    return any(
        a.dim() > 1 and torch.equal(a, b) and bool((a != a.flatten()[0]).any())
        for a, b in zip(first, second, strict=True)
    )
