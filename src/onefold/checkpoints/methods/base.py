"""The base class of all methods that merge checkpoints, and the registry that a decorator fills.

A method is used tensor by tensor. What needs a whole tensor and does not depend on weights or
scales (norms, angles, thresholds) is found once by `prepare`. `apply` then computes the merged
tensor, or a range of its elements, in blocks of `BLOCK` elements. Several weights or scales take
one `prepare`:

    prepared = Ties(lambda_=1.0).prepare(inputs)
    merged = [Ties(lambda_=scale).apply(prepared) for scale in (0.3, 0.5, 1.0)]

Computation is in float32, or in float64 if an input is float64. Inputs are never modified. The
elements are assumed to be finite.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from onefold.checkpoints.methods.checking import check_count, checked_inputs
from onefold.checkpoints.methods.inputs import Prepared, TensorInputs
from onefold.checkpoints.methods.lazily import torch
from onefold.checkpoints.methods.parameters import Parameter, Value, settings_of
from onefold.checkpoints.methods.products import row_of
from onefold.checkpoints.methods.scratch import BLOCK
from onefold.errors import SettingError, nearest
from onefold.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

Cut = Literal["elementwise", "rowwise", "whole"]


@dataclass(frozen=True)
class Method(ABC):
    """Base of all methods: a frozen dataclass whose fields are its settings.

    Attributes:
        per_model: the parameters that each model has.
        needs_base: a base must be given.
        allows_base: the base has a part of its own in the method.
        takes_base_as_model: a base that is given is one more model, with parameters of its own.
        least: least number of models; the base counts only if it is taken as a model.
        most: greatest number of models; None: any.
        aliases: further names in documents.
        cut: what a part of the result depends on beside `prepare`: the same elements of the
            inputs, the same rows, or everything.
        random: the result depends on the seed.
        scales: the parameters and settings that `prepare` does not depend on.
    """

    per_model: ClassVar[tuple[Parameter, ...]] = ()
    needs_base: ClassVar[bool] = False
    allows_base: ClassVar[bool] = True
    takes_base_as_model: ClassVar[bool] = False
    least: ClassVar[int] = 1
    most: ClassVar[int | None] = None
    aliases: ClassVar[tuple[str, ...]] = ()
    cut: ClassVar[Cut] = "elementwise"
    random: ClassVar[bool] = False
    scales: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            SettingError: one of them is of a wrong type or out of range.
        """
        for known in settings_of(type(self)):
            problem = known.problem(getattr(self, known.field))
            if problem is not None:
                raise SettingError(f"The setting '{known.name}' of {self.label} {problem}.")

    @property
    def label(self) -> str:
        """The name of the method in messages: the first one that it is registered under."""
        return name_of(type(self))

    def problem(self, parameters: Sequence[Mapping[str, Value]]) -> str | None:
        """What is wrong with values that are right one by one, as a sentence; None if nothing.

        Args:
            parameters: for each model, all of its parameters by name, defaults filled in.
        """
        return None

    def prepare(self, inputs: TensorInputs) -> Prepared:
        """Check the inputs and find what does not depend on `scales`.

        Raises:
            MembersError: the tensors do not fit together, or their number does not fit.
            SettingError: a parameter is missing, unknown, or out of range.
        """
        filled = checked_inputs(self, inputs)
        with torch.no_grad():
            facts = self.facts(filled) if filled.numel and filled.tensors else None
        return Prepared(filled, facts)

    def apply(self, prepared: Prepared, out: Tensor | None = None) -> Tensor:
        """The merged tensor.

        Args:
            prepared: what `prepare` returned, of this method with the same settings except for
                those in `scales`.
            out: (...) where it is written, contiguous and of any floating dtype; None: a new one
                of the dtype `inputs.result`.
        """
        inputs = prepared.inputs
        if out is None:
            device = (*inputs.tensors, inputs.base)[0].device  # type: ignore[union-attr]
            out = torch.empty(inputs.shape, dtype=inputs.result, device=device)
        self.apply_range(prepared, 0, inputs.numel, out.view(-1))
        return out

    def apply_range(self, prepared: Prepared, start: int, stop: int, out: Tensor) -> None:
        """A range of the merged tensor. Ranges that start at multiples of `step` give equal bits.

        Args:
            prepared: what `prepare` returned.
            start: first element of the range, a multiple of `step(inputs)`.
            stop: behind its last element.
            out: (stop - start,), where the range is written.
        """
        inputs = prepared.inputs
        if start >= stop:
            return
        with torch.no_grad():
            if not inputs.tensors:  # nothing is left to merge into the base
                out.copy_(inputs.read(-1, start, stop))
                return
            plan, step = self.plan(prepared), self.step(inputs)
            for low in range(start, stop, step):
                high = min(low + step, stop)
                out[low - start : high - start].copy_(self.block(prepared, plan, low, high))

    def step(self, inputs: TensorInputs) -> int:
        """The number of elements at whose multiples the result may be cut into ranges."""
        if self.cut == "whole":
            return max(1, inputs.numel)
        row = self.row(inputs.shape) if self.cut == "rowwise" else 1
        return row * max(1, BLOCK // row)

    def row(self, shape: Sequence[int]) -> int:
        """The length of a row of a tensor, for methods that are cut by rows."""
        return row_of(shape)

    def working_bytes(self, shape: Sequence[int], models: int) -> int:
        """An upper estimate of the memory that one tensor takes beside inputs and result.

        Args:
            shape: of the tensor.
            models: number of models.
        """
        if self.cut == "elementwise":
            return 4 * BLOCK * (2 * models + 4)
        numel = math.prod(shape)
        block = numel if self.cut == "whole" else max(BLOCK, self.row(shape))
        return 4 * block * (2 * models + 10)

    def facts(self, inputs: TensorInputs) -> Any:
        """What is needed of the whole tensor, for `Prepared.facts`."""
        return None

    def plan(self, prepared: Prepared) -> Any:
        """What all blocks share and depends on `scales`, such as coefficients."""
        return None

    @abstractmethod
    def block(self, prepared: Prepared, plan: Any, start: int, stop: int) -> Tensor:
        """A part of the merged tensor, (stop - start,), in the dtype of the computation."""


methods: Registry[type[Method]] = Registry("checkpoint method")


def name_of(method: type[Method]) -> str:
    """The first name that a method is registered under, or the name of its class."""
    names = [entry.name for entry in methods if entry.value is method]
    plain = [name for name in names if name not in method.aliases]
    return (plain or names or [method.__name__])[0]


def method_of(name: str, settings: Mapping[str, Value] | None = None) -> Method:
    """A method by its name.

    Args:
        name: a registered name.
        settings: the method's settings by their names in documents.

    Raises:
        SettingError: the name or a setting is unknown, or a setting is missing or out of range.
    """
    kind, given = methods.get(name), dict(settings or {})
    fields = {}
    for known in settings_of(kind):
        if known.name in given:
            fields[known.field] = given.pop(known.name)
        elif known.required:
            raise SettingError(f"{name} needs the setting '{known.name}', {known.range}; give one.")
    for other in given:
        names = [known.name for known in settings_of(kind)]
        raise SettingError(f"{name} has no setting '{other}'; {nearest(other, names)}")
    return kind(**fields)


__all__ = ["BLOCK", "Method", "Prepared", "TensorInputs", "check_count", "methods", "name_of"]
