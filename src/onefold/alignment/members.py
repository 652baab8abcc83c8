"""Check that networks can be aligned and averaged at all, before anything slow begins."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from onefold.batches import device_of
from onefold.errors import MembersError
from onefold.sources import DiskMembers
from onefold.weights import check_members, check_state


def check_networks(models: Sequence[nn.Module], least: int = 2, *, shapes: bool = True) -> None:
    """Refuse networks that do not belong together. shapes: False lets the shapes of their tensors differ.

    Raises:
        MembersError: fewer than `least`, or they differ in class, device, keys or shapes (the first difference is named).
        WeightsError: a weight is not finite, is quantised or is an integer.
    """
    if isinstance(models, nn.Module) or len(models) < least:
        count = 1 if isinstance(models, nn.Module) else len(models)
        raise MembersError(f"{count} network{' was' if count == 1 else 's were'} given; pass a list of at least {least}.")
    if isinstance(models, DiskMembers):  # each was checked as its file was found
        return
    for k, model in enumerate(models[1:], start=1):
        if type(model) is not type(models[0]):
            raise MembersError(
                f"Member 0 is a {type(models[0]).__name__} but member {k} is a {type(model).__name__}; only networks of one class can be folded."
            )
        if device_of(model) != device_of(models[0]):
            raise MembersError(f"Member 0 is on {device_of(models[0])} but member {k} is on {device_of(model)}; move them to one device.")
    names = [f"member {k}" for k in range(len(models))]
    states = [model.state_dict() for model in models]
    if shapes:
        check_members(states, names, models[0])
    for name, state in zip(names, states, strict=True):
        check_state(state, name)
