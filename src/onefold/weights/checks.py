"""Checks of state dicts: alone, with one another, and with a network.

Every message names the file and the tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from onefold.errors import MembersError, WeightsError

# Floating-point dtypes of a byte or less, whatever this version of torch has of them.
QUANTISED = {getattr(torch, name) for name in dir(torch) if name.startswith(("float8_", "float4_"))}
SHOWN = 3  # names listed in a message


def check_state(
    tensors: Mapping[str, Tensor],
    where: str,
    module: nn.Module | None = None,
    *,
    check_finite: bool = True,
) -> None:
    """Refuse tensors that cannot be averaged meaningfully.

    An integer tensor is a weight if `module` has a parameter of that name. Without a network it is
    a weight if it is int8 or uint8 of two or more dimensions (quantised weights). Other integer
    tensors are buffers (num_batches_tracked, position_ids, index tables) and pass.

    Args:
        tensors: name -> tensor; read one at a time, so that a LazyState stays on disk.
        where: the source of the tensors, for the messages; usually the file.
        module: the network they belong to, if it is at hand.
        check_finite: also refuse NaN and infinity, which takes one pass over all values.

    Raises:
        WeightsError: there is no tensor, a quantised or integer weight, a tensor without data, NaN
            or infinity.
    """
    if not tensors:
        raise WeightsError(f"{where} holds no tensors; give a checkpoint with a state dict.")
    parameters = (
        {name for name, _ in module.named_parameters(remove_duplicate=False)}
        if module is not None
        else None
    )
    bad: dict[str, int] = {}
    for name, tensor in tensors.items():
        _check_dtype(name, tensor, where, parameters)
        if check_finite and (tensor.is_floating_point() or tensor.is_complex()):
            finite = torch.isfinite(tensor)
            if not finite.all():
                bad[name] = int(tensor.numel() - finite.sum())
    if bad:
        first, count = next(iter(bad.items()))
        more = f", as do {len(bad) - 1} other tensors" if len(bad) > 1 else ""
        raise WeightsError(
            f"{where} is not finite: '{first}' holds {count} NaN or infinite values{more}; leave"
            " this checkpoint out or take an earlier one."
        )


def check_members(
    states: Sequence[Mapping[str, Tensor]], names: Sequence[str], module: nn.Module | None = None
) -> None:
    """Refuse members whose tensors differ in names, shapes or kinds of dtype.

    float16 beside float32 is accepted, integer beside floating point is refused.

    Args:
        states: one state dict per member.
        names: one name per member, for the messages; usually its file.
        module: the network they shall be loaded into, if it is at hand; each member is then checked
            against it, too.

    Raises:
        MembersError: there are fewer than two members, or two of them differ (the first difference
            is named, with both shapes).
        WeightsError: a member does not fit `module`.
    """
    if len(states) < 2:
        raise MembersError(
            f"Folding takes at least two networks, but {len(states)} was given; add another"
            " checkpoint."
        )
    for state, name in zip(states[1:], names[1:], strict=True):
        _check_pair(states[0], names[0], state, name)
    if module is not None:
        for state, name in zip(states, names, strict=True):
            check_fit(module, state, name)


def check_fit(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Refuse a state that has not exactly the tensors of `module`, by shape and kind of dtype.

    A tied name may be left out.

    Args:
        module: the network.
        state: name -> tensor.
        where: the source of the state, for the messages; usually the file.

    Raises:
        WeightsError: names are missing or unexpected, or a shape or kind of dtype differs.
    """
    own = module.state_dict(keep_vars=True)
    missing = [
        name
        for name in own
        if name not in state and not any(twin in state for twin in _twins(own, name))
    ]
    unexpected = [name for name in state if name not in own]
    if missing or unexpected:
        parts = []
        if missing:
            parts.append(f"lacks {_listed(missing)}")
        if unexpected:
            parts.append(f"has {_listed(unexpected)}, which the network does not know")
        raise WeightsError(
            f"{where} does not fit the network {type(module).__name__}: it {' and '.join(parts)};"
            " check architecture and options."
        )
    for name, tensor in own.items():
        if name not in state:
            continue
        given = state[name]
        if given.shape != tensor.shape:
            raise WeightsError(
                f"{where} does not fit the network {type(module).__name__}: '{name}' has shape"
                f" {tuple(given.shape)} in the file, but {tuple(tensor.shape)} in the network;"
                " check the network's options, such as its width and number of classes."
            )
        if kind(given) != kind(tensor):
            raise WeightsError(
                f"{where} does not fit the network {type(module).__name__}: '{name}' is"
                f" {_dtype(given)} in the file, but {_dtype(tensor)} in the network; give the"
                " checkpoint of this network."
            )


def load_into(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Copy `state` into `module`'s parameters and buffers, strictly.

    Values are converted to the network's floating-point dtype. This is one of the few functions
    that change their argument.

    Args:
        module: the network, which is changed.
        state: name -> tensor.
        where: the source of the state, for the messages; usually the file.

    Raises:
        WeightsError: as `check_fit`; the network is then unchanged.
    """
    check_fit(module, state, where)
    own = module.state_dict(keep_vars=True)
    complete = {
        name: state[
            name if name in state else next(twin for twin in _twins(own, name) if twin in state)
        ]
        for name in own
    }
    module.load_state_dict(complete, strict=True)


def kind(tensor: Tensor) -> str:
    """The kind of a tensor's dtype: "floating", "complex", "boolean" or "integer"."""
    if tensor.is_floating_point():
        return "floating"
    if tensor.is_complex():
        return "complex"
    return "boolean" if tensor.dtype == torch.bool else "integer"


def _check_dtype(name: str, tensor: Tensor, where: str, parameters: set[str] | None) -> None:
    if tensor.device.type == "meta":
        raise WeightsError(
            f"{where} holds '{name}' without its data (a meta tensor); load the network's weights"
            " first."
        )
    if tensor.dtype in QUANTISED or tensor.is_quantized:
        raise WeightsError(
            f"{where} is quantised: '{name}' is {_dtype(tensor)}; give the checkpoint from before"
            " quantisation."
        )
    if kind(tensor) in ("floating", "complex"):
        return
    if parameters is not None:
        weight = name in parameters
    else:
        weight = tensor.dtype in (torch.int8, torch.uint8) and tensor.dim() >= 2
    if weight:
        raise WeightsError(
            f"{where} has integer weights: '{name}' is {_dtype(tensor)}, which cannot be averaged;"
            " give floating-point weights."
        )


def _check_pair(
    first: Mapping[str, Tensor], first_name: str, other: Mapping[str, Tensor], other_name: str
) -> None:
    missing = [name for name in first if name not in other]
    extra = [name for name in other if name not in first]
    if missing or extra:
        parts = []
        if missing:
            parts.append(f"{other_name} lacks {_listed(missing)}")
        if extra:
            parts.append(f"{first_name} lacks {_listed(extra)}")
        raise MembersError(
            f"The members are of different architectures: {' and '.join(parts)}; give checkpoints"
            " of one and the same network."
        )
    for name, tensor in first.items():
        twin = other[name]
        if tensor.shape != twin.shape:
            raise MembersError(
                f"The members differ in shape: '{name}' is {tuple(tensor.shape)} in {first_name}"
                f" but {tuple(twin.shape)} in {other_name}; give checkpoints of one and the same"
                " network."
            )
        if kind(tensor) != kind(twin):
            raise MembersError(
                f"The members differ in type: '{name}' is {_dtype(tensor)} in {first_name} but"
                f" {_dtype(twin)} in {other_name}."
            )


def _twins(own: Mapping[str, Tensor], name: str) -> list[str]:
    """Other names under which a network keeps the very same parameter or buffer (tied weights)."""
    return [other for other, tensor in own.items() if other != name and tensor is own[name]]


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    shown = ", ".join(f"'{name}'" for name in names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
