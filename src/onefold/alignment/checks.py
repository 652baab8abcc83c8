"""Checks that networks can be aligned and averaged at all, before anything slow begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from onefold.batches import device_of
from onefold.copying import copied, ordinary
from onefold.errors import MembersError
from onefold.given import same_class
from onefold.sources import on_disk
from onefold.weights import check_members, check_state

M = TypeVar("M", bound=nn.Module)
# Modules that do nothing in eval mode, of which one may stand for another.
IDLE = (nn.Identity, nn.modules.dropout._DropoutNd)


def check_networks(models: Sequence[nn.Module], least: int = 2, *, shapes: bool = True) -> None:
    """Refuse networks that do not belong together.

    Args:
        models: the networks.
        least: how many there must be.
        shapes: whether the shapes of their tensors must agree.

    Raises:
        MembersError: fewer than `least`, or they differ in class, device, keys or shapes (the first
            difference is named).
        WeightsError: a weight is not finite, is quantised or is an integer.
    """
    if isinstance(models, nn.Module) or len(models) < least:
        count = 1 if isinstance(models, nn.Module) else len(models)
        raise MembersError(
            f"{count} network{' was' if count == 1 else 's were'} given; pass a list of at least"
            f" {least}."
        )
    if on_disk(models):  # each was checked as its file was found
        return
    for k, model in enumerate(models[1:], start=1):
        if not same_class(model, models[0]):
            raise MembersError(
                f"Member 0 is a {type(models[0]).__name__} but member {k} is a"
                f" {type(model).__name__}; only networks of one class can be folded."
            )
        if _apart(device_of(model), device_of(models[0])):
            raise MembersError(
                f"Member 0 is on {device_of(models[0])} but member {k} is on {device_of(model)};"
                " move them to one device."
            )
        _check_modules(models[0], model, k)
    for k, model in enumerate(models):
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if _apart(tensor.device, device_of(model)):
                raise MembersError(
                    f"Member {k} is on {device_of(model)}, but its '{name}' is on {tensor.device};"
                    " move the whole network to one device."
                )
    names = [f"member {k}" for k in range(len(models))]
    states = [model.state_dict() for model in models]
    if shapes:
        check_members(states, names, models[0])
    for name, state in zip(names, states, strict=True):
        check_state(state, name)


def _check_modules(first: nn.Module, other: nn.Module, k: int) -> None:
    """Refuse networks of one class that hold other modules under one name, as ReLU and Tanh.

    Classes are told by their names, since parametrized modules have a class of their own each.
    """
    there = dict(other.named_modules())
    for name, module in first.named_modules():
        twin = there.get(name)
        if twin is None or (isinstance(module, IDLE) and isinstance(twin, IDLE)):
            continue
        if type(module).__qualname__ != type(twin).__qualname__:
            raise MembersError(
                f"Member 0 has a {type(module).__qualname__} at '{name}' but member {k} a"
                f" {type(twin).__qualname__}; only networks of one architecture can be folded."
            )


def in_one_precision(models: Sequence[M], reference: int) -> Sequence[M]:
    """The same networks, with copies of those whose precision is not the reference's.

    The copies have the reference's dtypes, tensor by tensor. Networks that torch.inference_mode()
    made are copied as well (`ordinary`). Only floating-point and complex
    tensors are cast. Members on disk are in their network's precision already.
    """
    if on_disk(models):
        return models  # type: ignore[return-value]
    models = [ordinary(model) for model in models]
    wanted = _dtypes(models[reference])

    def fits(model: nn.Module) -> bool:
        return all(wanted.get(name, dtype) == dtype for name, dtype in _dtypes(model).items())

    return [model if fits(model) else _cast(model, wanted) for model in models]


def _apart(first: torch.device, second: torch.device) -> bool:
    """Whether two devices differ, and neither is the device of tensors without numbers."""
    return first != second and "meta" not in (first.type, second.type)


def _dtypes(model: nn.Module) -> dict[str, torch.dtype]:
    tensors = (*model.named_parameters(), *model.named_buffers())
    return {
        name: tensor.dtype
        for name, tensor in tensors
        if tensor.is_floating_point() or tensor.is_complex()
    }


def _cast(model: M, dtypes: dict[str, torch.dtype]) -> M:
    twin = copied(model)
    for name, tensor in (*twin.named_parameters(), *twin.named_buffers()):
        if name in dtypes and isinstance(tensor, Tensor):
            tensor.data = tensor.data.to(dtypes[name])
    return twin
