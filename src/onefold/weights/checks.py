"""Checks of state dicts: alone, with one another, and with a network.

Every message names the file and the tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from onefold.errors import MembersError, WeightsError, kind_of
from onefold.weights.conversion import COUNTER, converted, is_counter, kind
from onefold.weights.lazy import LazyState

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

    The counters of batch norms may be infinite: float16 has no number above 65504.

    Args:
        tensors: name -> tensor; read one at a time, so that a LazyState stays on disk.
        where: the source of the tensors, for the messages; usually the file.
        module: the network they belong to, if it is at hand.
        check_finite: also refuse NaN and infinity, which takes one pass over all values.

    Raises:
        WeightsError: there is no tensor, something that is none, a quantised, sparse or integer
            weight, a tensor without data, NaN or infinity.
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
        _check_tensor(name, tensor, where)
        _check_dtype(name, tensor, where, parameters)
        if (
            check_finite
            and not is_counter(name)
            and (tensor.is_floating_point() or tensor.is_complex())
        ):
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

    float16 beside float32 is accepted, integer beside floating point is refused. The counter of a
    norm may be missing.

    Args:
        states: one state dict per member.
        names: one name per member, for the messages; usually its file.
        module: the network they shall be loaded into, if it is at hand; each member is then checked
            against it, too.

    Raises:
        MembersError: there are fewer than two members, or two of them differ (the first difference
            is named, with both shapes).
        WeightsError: a member does not fit `module`, or holds something that is no tensor.
    """
    if len(states) < 2:
        raise MembersError(
            f"Folding takes at least two networks, but {len(states)} was given; add another"
            " checkpoint."
        )
    for state, name in zip(states, names, strict=True):
        if not isinstance(state, LazyState):
            check_all_tensors(state, name)
    for state, name in zip(states[1:], names[1:], strict=True):
        _check_pair(states[0], names[0], state, name)
    if module is not None:
        for state, name in zip(states, names, strict=True):
            check_fit(module, state, name)


def check_fit(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Refuse a state that has not exactly the tensors of `module`, by shape and kind of dtype.

    A tied name and the counter of a norm may be left out. Whole numbers may be in another dtype if
    none changes by it (`conversion`).

    Args:
        module: the network.
        state: name -> tensor.
        where: the source of the state, for the messages; usually the file.

    Raises:
        WeightsError: names are missing or unexpected, or a shape or kind of dtype differs.
    """
    own = tensors_of(module)
    missing = [g[0] for g in needed_names(module) if not any(name in state for name in g)]
    unexpected = [name for name in state if name not in own]
    if missing or unexpected:
        parts = []
        if missing:
            parts.append(f"lacks {listed(missing)}")
        if unexpected:
            parts.append(f"has {listed(unexpected)}, which the network does not know")
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
        if converted(given, tensor, name) is None:
            raise WeightsError(
                f"{where} does not fit the network {type(module).__name__}: '{name}' is"
                f" {_dtype(given)} in the file, but {_dtype(tensor)} in the network; give the"
                " checkpoint of this network."
            )


def load_into(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Copy `state` into `module`'s parameters and buffers, strictly.

    Values are converted to the network's dtype. What is no tensor in its state dict stays, and so
    do counters that the state lacks. This is one of the few functions that change their argument.

    Args:
        module: the network, which is changed.
        state: name -> tensor.
        where: the source of the state, for the messages; usually the file.

    Raises:
        WeightsError: as `check_fit`; the network is then unchanged.
    """
    check_fit(module, state, where)
    own = module.state_dict(keep_vars=True)
    complete: dict[str, Any] = {}
    for name, value in own.items():
        given = next((n for n in (name, *_twins(own, name)) if n in state), None)
        complete[name] = value if given is None else converted(state[given], value, name)
    module.load_state_dict(complete, strict=True)


def needed_names(module: nn.Module) -> list[list[str]]:
    """The names that a state of `module` must have; of tied names in one list one is enough.

    The counters of norms may be missing, as in torch, which then leaves them as they are.
    """
    own, counters = tensors_of(module), _counters(module)
    same: dict[int, list[str]] = {}
    for name, tensor in own.items():
        same.setdefault(id(tensor), []).append(name)
    return [names for names in same.values() if not counters.issuperset(names)]


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """The tensors in the state dict of a network; extra state of its own may be beside them."""
    state = module.state_dict(keep_vars=True)
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def check_all_tensors(state: Mapping[str, object], where: str) -> None:
    """Refuse a network whose state dict has entries that are no tensors.

    Raises:
        WeightsError: there is one, as quantised layers and `get_extra_state` leave it.
    """
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise WeightsError(
                f"{where} has '{name}' in its state dict, {kind_of(value)} and no tensor, as"
                " quantised layers and get_extra_state leave it, which cannot be averaged; give the"
                " network from before quantisation, or of a class without extra state."
            )


def _counters(module: nn.Module) -> set[str]:
    norms = nn.modules.batchnorm._NormBase
    return {
        f"{name}.{COUNTER}".lstrip(".")
        for name, part in module.named_modules(remove_duplicate=False)
        if isinstance(part, norms)
    }


def _check_tensor(name: str, tensor: Tensor, where: str) -> None:
    check_all_tensors({name: tensor}, where)
    if tensor.layout != torch.strided:
        raise WeightsError(
            f"{where} holds '{name}' as a sparse tensor, which cannot be averaged; give it as a"
            " plain one (to_dense())."
        )


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
    missing = [name for name in first if name not in other and not is_counter(name)]
    extra = [name for name in other if name not in first and not is_counter(name)]
    if missing or extra:
        parts = []
        if missing:
            parts.append(f"{other_name} lacks {listed(missing)}")
        if extra:
            parts.append(f"{first_name} lacks {listed(extra)}")
        raise MembersError(
            f"The members are of different architectures: {' and '.join(parts)}; give checkpoints"
            " of one and the same network."
        )
    for name, tensor in first.items():
        if name not in other:
            continue
        twin = other[name]
        if tensor.shape != twin.shape:
            raise MembersError(
                f"The members differ in shape: '{name}' is {tuple(tensor.shape)} in {first_name}"
                f" but {tuple(twin.shape)} in {other_name}; {_cure(first, other)}."
            )
        if kind(tensor) != kind(twin) and not is_counter(name):
            raise MembersError(
                f"The members differ in type: '{name}' is {_dtype(tensor)} in {first_name} but"
                f" {_dtype(twin)} in {other_name}."
            )


def _cure(first: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    """What to do about members of unequal shapes.

    Members whose last layer alone differs, in the length of its first axis, have label sets of
    their own.
    """
    differ = {name for name in first if name in other and first[name].shape != other[name].shape}
    layers = {name.rpartition(".")[0] for name in differ}
    rows = all(first[name].shape[1:] == other[name].shape[1:] for name in differ)
    if len(layers) == 1 and rows:
        return (
            "members with label sets of their own go into onefold.partial_merge, which keeps the"
            ' outputs of each (outputs="members")'
        )
    return "give checkpoints of one and the same network"


def _twins(own: Mapping[str, Any], name: str) -> list[str]:
    """Other names under which a network keeps the very same parameter or buffer (tied weights)."""
    return [
        other
        for other, tensor in own.items()
        if other != name and tensor is own[name] and isinstance(tensor, Tensor)
    ]


def listed(names: Iterable[str]) -> str:
    """The first names in quotes, and how many more there are."""
    names = list(names)
    shown = ", ".join(f"'{name}'" for name in names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
