"""Whether tensors and parameters fit a method."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

from onefold.checkpoints.methods.inputs import TensorInputs
from onefold.checkpoints.methods.parameters import Parameter, Value
from onefold.errors import MembersError, SettingError, nearest
from onefold.printable import counted


class Declared(Protocol):
    """What a method says of itself."""

    @property
    def per_model(self) -> tuple[Parameter, ...]:
        """The parameters that each model has."""
        ...

    @property
    def needs_base(self) -> bool:
        """Whether a base must be given."""
        ...

    @property
    def takes_base_as_model(self) -> bool:
        """Whether a base is one more model."""
        ...

    @property
    def least(self) -> int:
        """Least number of models."""
        ...

    @property
    def most(self) -> int | None:
        """Greatest number of models."""
        ...

    @property
    def label(self) -> str:
        """The name in messages."""
        ...

    def problem(self, parameters: Sequence[Mapping[str, Value]]) -> str | None:
        """What is wrong with values that are right one by one."""
        ...


def checked_inputs(method: Declared, inputs: TensorInputs) -> TensorInputs:
    """The inputs, flat in memory and with defaults filled in.

    Raises:
        MembersError: the tensors do not fit together, or their number does not fit.
        SettingError: a parameter is missing, unknown, or out of range.
    """
    tensors, base, where = list(inputs.tensors), inputs.base, f"'{inputs.name}'"
    if base is not None and method.takes_base_as_model:
        raise MembersError(f"{method.label} has no base at {where}; give it as one of the models.")
    if base is None and method.needs_base:
        raise MembersError(f"{method.label} needs a base, and {where} has none; give one.")
    check_count(method, len(tensors), allow_none=base is not None)
    if len(inputs.models) != len(tensors):
        given = counted(len(tensors), "tensor")
        raise MembersError(f"{where} has {given} for {counted(len(inputs.models), 'model')}.")
    every = tensors if base is None else [*tensors, base]
    for tensor in every:
        if tensor.shape != every[0].shape:
            shapes = ", ".join(str(tuple(t.shape)) for t in every)
            raise MembersError(f"The tensors {where} have unequal shapes: {shapes}.")
        if tensor.device.type != "cpu":
            raise MembersError(f"{where} is on {tensor.device}; move it to the CPU.")
        if tensor.itemsize < 2 or not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise MembersError(
                f"{where} is {kind}; give tensors of bfloat16, float16, float32 or float64."
            )
    return dataclasses.replace(
        inputs,
        tensors=[tensor.contiguous() for tensor in tensors],
        base=None if base is None else base.contiguous(),
        parameters=checked_parameters(method, inputs.parameters, len(tensors), where),
    )


def check_count(method: Declared, count: int, allow_none: bool = False) -> None:
    """Check the number of models.

    Args:
        method: the method.
        count: number of models.
        allow_none: no model at all is fine.

    Raises:
        MembersError: too few or too many.
    """
    if (allow_none and count == 0) or method.least <= count <= (method.most or count):
        return
    wanted = f"at least {method.least}" if method.most is None else f"at most {method.most}"
    if method.least == method.most:
        wanted = f"exactly {method.least}"
    beside = " beside the base" if method.needs_base else ""
    models, are = "model" if wanted.endswith(" 1") else "models", "is" if count == 1 else "are"
    raise MembersError(f"{method.label} takes {wanted} {models}{beside}, and {count} {are} given.")


def checked_parameters(
    method: Declared, given: Sequence[Mapping[str, Value]], count: int, where: str
) -> list[dict[str, Value]]:
    """The parameters of all models, with defaults filled in.

    Raises:
        SettingError: one is missing, unknown or out of range.
    """
    if given and len(given) != count:
        raise SettingError(f"Parameters of {len(given)} models are given for {count} at {where}.")
    known = {parameter.name: parameter for parameter in method.per_model}
    filled: list[dict[str, Value]] = []
    for i in range(count):
        values = dict(given[i]) if given else {}
        for name in values:
            if name not in known:
                raise SettingError(
                    f"{method.label} has no parameter '{name}' of models; {nearest(name, known)}"
                )
        for name, parameter in known.items():
            problem = parameter.problem(values.setdefault(name, parameter.default))
            if problem is not None:
                raise SettingError(f"The {name} of model {i + 1} at {where} {problem}.")
        filled.append(values)
    problem = method.problem(filled) if filled else None
    if problem is not None:
        raise SettingError(problem)
    return filled
