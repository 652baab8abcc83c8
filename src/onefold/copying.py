"""Copies of networks, whatever they hold beside their tensors, and whatever made those.

copy.deepcopy refuses much that a network may hold. Three kinds are told apart:

    tensors of a graph   activations, and the weights that torch.nn.utils.weight_norm, spectral_norm
                         and prune compute: they are copied without their graph
    handles              locks, threads, open files, loggers, Python modules: the copy has the same
                         ones
    anything else        generators, sockets and the like, which two networks cannot share: the copy
                         is refused in one sentence that names the module and the attribute
"""

from __future__ import annotations

import copy
import io
import logging
import threading
import types
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from onefold.errors import MembersError, kind_of

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")

# What reaches outside of the network, so that a copy of it would be no other one.
HANDLES = (
    type(threading.Lock()),
    type(threading.RLock()),
    threading.local,
    threading.Thread,
    io.IOBase,
    logging.Logger,
    logging.Handler,
    types.ModuleType,
)
# What holds nothing that could be a handle, or may be large.
_CLOSED = (Tensor, str, bytes, int, float, complex, type, types.FunctionType, types.CodeType)


def copied(network: M, memo: Mapping[int, Any] | None = None) -> M:
    """A deep copy of a network.

    A tensor that belongs to a graph is copied without it. Locks, threads, open files, loggers and
    Python modules are shared with the network. Functions are shared too, and so are hooks with all
    that they close over.

    Args:
        network: is left as it is.
        memo: id of an object -> what takes its place in the copy.

    Raises:
        MembersError: the network holds something that cannot be copied; the sentence names the
            module and the attribute.
    """
    given = dict(memo or {})
    try:
        return _deep(network, given)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception:  # a network may hold anything
        shared = given | {id(handle): handle for handle in _handles(network)}
    try:
        return _deep(network, shared)
    except Exception as error:
        raise MembersError(_refusal(network, shared, error)) from error


class _Detached(TorchFunctionMode):
    """Copies tensors that belong to a graph, which torch refuses to copy, as leaves."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            if id(tensor) not in memo:
                memo[id(tensor)] = tensor.detach().clone()
            return memo[id(tensor)]
        return func(*args, **(kwargs or {}))


def copied_to_run(network: M) -> M:
    """A copy in eval mode that shares the network's parameters, for runs that shall leave no trace.

    Raises:
        MembersError: as `copied`.
    """
    return copied(network, {id(tensor): tensor for tensor in network.parameters()}).eval()


def ordinary(network: M) -> M:
    """The network itself, or a copy if torch.inference_mode() made its tensors.

    Such tensors can neither be traced nor be part of a loss. Those of the copy can.

    Raises:
        MembersError: as `copied`.
    """
    return copied(network) if _frozen_tensor(network) else network


def check_changeable(network: nn.Module) -> None:
    """Refuse a network that cannot be changed in place, as torch.inference_mode() made its tensors.

    Raises:
        MembersError: as said.
    """
    if name := _frozen_tensor(network):
        raise MembersError(
            f"{type(network).__name__} was made under torch.inference_mode(), so that its '{name}'"
            " cannot be changed; pass copy.deepcopy(network)."
        )


def _frozen_tensor(network: nn.Module) -> str:
    """The name of a tensor that torch.inference_mode() made; "" if there is none, or inside it."""
    if torch.is_inference_mode_enabled():
        return ""
    tensors = (*network.named_parameters(), *network.named_buffers())
    return next((name for name, tensor in tensors if tensor.is_inference()), "")


def check_copyable(network: nn.Module) -> None:
    """Refuse a network that cannot be copied, at no cost of its tensors.

    Raises:
        MembersError: as `copied`.
    """
    tensors = (*network.parameters(), *network.buffers())
    copied(network, {id(tensor): tensor for tensor in tensors})


def _deep(value: T, memo: Mapping[int, Any]) -> T:
    with _Detached():
        return copy.deepcopy(value, dict(memo))


def _handles(network: nn.Module) -> list[Any]:
    """Every handle that a network holds, at any depth."""
    found: list[Any] = []
    seen: set[int] = set()
    left: list[Any] = [network]
    while left:
        value = left.pop()
        if isinstance(value, _CLOSED) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, HANDLES):
            found.append(value)
        else:
            left += _inside(value)
    return found


def _inside(value: Any) -> Iterator[Any]:
    """What an object holds: its entries, and its attributes."""
    if isinstance(value, Mapping):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif isinstance(value, types.MethodType):
        yield value.__self__
    yield from getattr(value, "__dict__", {}).values()
    for kind in type(value).__mro__:
        for name, slot in vars(kind).items():
            if isinstance(slot, types.MemberDescriptorType) and hasattr(value, name):
                yield getattr(value, name)


def _refusal(network: nn.Module, memo: Mapping[int, Any], error: Exception) -> str:
    """Why a network cannot be copied, and what to do, as one sentence."""
    for name, module in network.named_modules():
        for attribute, value in vars(module).items():
            if attribute == "_modules":  # visited on their own
                continue
            try:
                _deep(value, memo)
            except Exception as cause:
                what, owner = _culprit(attribute, value, memo)
                where = f"its module '{name}' ({type(module).__name__})" if name else "it"
                reason = _first_line(cause)
                return (
                    f"{type(network).__name__} cannot be copied, as {where} holds {what} in"
                    f" '{owner}' ({reason}); remove it before, or let the module copy itself by"
                    " __deepcopy__."
                )
    reason = _first_line(error)
    return (
        f"{type(network).__name__} cannot be copied ({reason}); drop what it holds beside its"
        " weights, or let it copy itself by __deepcopy__."
    )


def _culprit(attribute: str, value: Any, memo: Mapping[int, Any]) -> tuple[str, str]:
    """What cannot be copied, and the attribute that holds it, down through plain containers."""
    entries: list[tuple[Any, Any]] = []
    if type(value) in (dict, list, tuple):
        entries = list(value.items() if isinstance(value, dict) else enumerate(value))
    for key, entry in entries:
        try:
            _deep(entry, memo)
        except Exception:
            registered = attribute in ("_parameters", "_buffers")
            return _culprit(str(key) if registered else f"{attribute}[{key!r}]", entry, memo)
    return kind_of(value), attribute


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0][:160].rstrip(".")
