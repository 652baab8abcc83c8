"""State dicts merged in memory by any method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from onefold.checkpoints.methods.base import Method, TensorInputs, check_count, method_of
from onefold.checkpoints.methods.calibration import Filter
from onefold.checkpoints.methods.lazily import torch
from onefold.checkpoints.methods.parameters import Value
from onefold.errors import MembersError, SettingError, shown, warn
from onefold.printable import counted

if TYPE_CHECKING:
    from torch import Tensor

State = Mapping[str, "Tensor"]


def merge_states(
    states: Mapping[str, State] | Sequence[State],
    method: Method | str,
    base: State | None = None,
    parameters: Mapping[str, Value | Sequence[Value]] | None = None,
    seed: int = 0,
    post: Filter | None = None,
) -> dict[str, Tensor]:
    """Merge state dicts tensor by tensor.

    >>> a, b = {"w": torch.zeros(2)}, {"w": torch.ones(2)}
    >>> merge_states([a, b], "linear", parameters={"weight": [0.25, 0.75]})
    {'w': tensor([0.7500, 0.7500])}

    Args:
        states: the models' weights, of equal names and shapes, or a mapping from their names.
        method: a method with its settings, or its name for the defaults.
        base: the weights that the models stem from, for methods that have a base. If the method
            takes the base as a model, it is one more of `states`.
        parameters: of each model: a name to one value for all, or to a value for each.
        seed: of random masks.
        post: a filter of every merged tensor.

    Returns:
        The merged weights in the order of the first state, on its devices. Floating tensors have
        the base's dtype, or what the models' dtypes are promoted to. Other tensors are those of
        the base, or of the first model; a warning names those that differ.

    Raises:
        MembersError: names, shapes or the number of models do not fit.
        SettingError: a method, setting or parameter is unknown or out of range.
    """
    if isinstance(states, Mapping) and any(not isinstance(one, Mapping) for one in states.values()):
        raise SettingError(
            "states is one state dict; give a list of the models' state dicts, or a mapping from"
            " their names."
        )
    names = list(states) if isinstance(states, Mapping) else [str(i) for i in range(len(states))]
    models = list(states.values()) if isinstance(states, Mapping) else list(states)
    method = method_of(method) if isinstance(method, str) else method
    check_count(method, len(models), allow_none=base is not None)
    every = models if base is None else [*models, base]
    _check_names(every)
    given = _parameters(parameters or {}, len(models))
    merged, differing = {}, []
    for name, first in every[0].items():
        tensors = [state[name] for state in every]
        if not first.is_floating_point():
            if any(not torch.equal(first, tensor) for tensor in tensors[1:]):
                differing.append(name)
            merged[name] = tensors[-1 if base is not None else 0].clone()
            continue
        cpu = [tensor.detach().cpu() for tensor in tensors]
        inputs = TensorInputs(
            name, cpu[: len(models)], names, cpu[-1] if base is not None else None, given, seed
        )
        result = method.apply(method.prepare(inputs))
        if post is not None:
            result = post.filtered(inputs, result)
        merged[name] = result.to(first.device)
    if differing:
        warn(UserWarning(_told(differing, base is not None)))
    return merged


def _check_names(states: Sequence[State]) -> None:
    for number, state in enumerate(states[1:], 2):
        for lacking, having, missing in (
            (number, 1, set(states[0]) - set(state)),
            (1, number, set(state) - set(states[0])),
        ):
            if missing:
                raise MembersError(
                    f"State {lacking} has no tensor '{min(missing)}', and state {having} has one;"
                    " give states of equal names."
                )


def _parameters(given: Mapping[str, Value | Sequence[Value]], count: int) -> list[dict[str, Value]]:
    found: list[dict[str, Value]] = [{} for _ in range(count)]
    for name, values in given.items():
        each = values if isinstance(values, Sequence) else [values] * count
        if len(each) != count:
            raise SettingError(
                f"The parameter '{name}' has {counted(len(each), 'value')} for"
                f" {counted(count, 'model')}: {shown(values)}"
            )
        for i, value in enumerate(each):
            found[i][name] = value
    return found


def _told(names: Sequence[str], base: bool) -> str:
    verb = "differs and is that" if len(names) == 1 else "differ and are those"
    source = "the base" if base else "the first model"
    which = ", ".join(f"'{name}'" for name in names[:3]) + (" ..." if len(names) > 3 else "")
    return f"{counted(len(names), 'tensor')} of whole numbers {verb} of {source}: {which}."
