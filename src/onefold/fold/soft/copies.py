"""Copies of networks that share another network's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from onefold.caches import clear_eval_caches
from onefold.copying import copied

M = TypeVar("M", bound=nn.Module)


def shared_copy(network: M, state: Mapping[str, Tensor] | None = None) -> M:
    """A copy of a network's structure in eval mode that shares its tensors, or those of `state`.

    No parameter of the copy needs a gradient. Flags, hooks and attributes may be changed in the
    copy. Its tensors must not be written to.
    """
    tensors = dict(state) if state is not None else {}
    memo: dict[int, Any] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        shared = nn.Parameter(tensors.get(name, parameter).detach(), requires_grad=False)
        shared._trainable = _trainable(parameter)  # type: ignore[attr-defined]
        memo.setdefault(id(parameter), shared)
    for name, buffer in network.named_buffers(remove_duplicate=False):
        memo.setdefault(id(buffer), tensors.get(name, buffer).detach())
    twin = copied(network, memo).eval()
    clear_eval_caches(twin)
    return twin


def filled_copy(network: M, skeleton: nn.Module, weights: Mapping[str, Tensor]) -> M:
    """An `own_copy` of `network` with the values of `skeleton`, and `weights` in their place.

    Tied names stay tied.
    """
    twin = own_copy(network)
    values = {name: value.clone() for name, value in skeleton.state_dict().items()}
    first: dict[int, str] = {}
    for name, tensor in (
        *skeleton.named_parameters(remove_duplicate=False),
        *skeleton.named_buffers(remove_duplicate=False),
    ):
        given = first.setdefault(id(tensor), name)
        if name in values:
            values[name] = weights.get(name, weights.get(given, values[name]))
    twin.load_state_dict(values)
    clear_eval_caches(twin)
    return twin


def own_copy(network: M) -> M:
    """A copy of `network` with tensors of its own.

    Its parameters are trainable if they were in the network that they come from.
    """
    twin = copied(network)
    for own, given in zip(twin.parameters(), network.parameters(), strict=True):
        own.requires_grad_(_trainable(given))
    return twin


def _trainable(parameter: nn.Parameter) -> bool:
    """Whether a parameter needs gradients, or the one that it shares its memory with did."""
    return bool(getattr(parameter, "_trainable", parameter.requires_grad))
