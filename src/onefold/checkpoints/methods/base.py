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

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from onefold.checkpoints.methods.lazily import torch
from onefold.checkpoints.methods.parameters import Parameter, Value, settings_of
from onefold.errors import MembersError, SettingError, nearest
from onefold.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 1 << 16  # elements; float32 buffers of this size stay in a core's cache
Cut = Literal["elementwise", "rowwise", "whole"]


@dataclass(frozen=True, eq=False)
class TensorInputs:
    """One tensor of all models.

    Attributes:
        name: name of the tensor.
        tensors: one for each model, of equal shapes and of floating dtypes. The base is among them
            only for methods that take it as a model.
        models: a name for each model. Random masks are seeded by them.
        base: the base's tensor, if the method has one.
        parameters: the parameters of each model by their names in documents. What is missing has
            its default. Empty: all defaults.
        seed: of what is random.
        dtype: of the result. None: the base's, or what the models' dtypes are promoted to.
    """

    name: str
    tensors: Sequence[Tensor]
    models: Sequence[str]
    base: Tensor | None = None
    parameters: Sequence[Mapping[str, Value]] = ()
    seed: int = 0
    dtype: torch.dtype | None = None

    @property
    def shape(self) -> torch.Size:
        """The shape of every tensor."""
        return self.tensors[0].shape if self.tensors else self._base.shape

    @property
    def numel(self) -> int:
        """The number of elements."""
        return self.shape.numel()

    @property
    def row(self) -> int:
        """The length of a row, which is the last dimension; at least 1."""
        return max(1, self.shape[-1]) if self.shape else 1

    @property
    def _base(self) -> Tensor:
        assert self.base is not None
        return self.base

    @property
    def work(self) -> torch.dtype:
        """The dtype of the computation, float32 or float64."""
        given = [*self.tensors, *([] if self.base is None else [self.base])]
        return torch.float64 if any(t.dtype == torch.float64 for t in given) else torch.float32

    @property
    def common(self) -> torch.dtype:
        """What the dtypes of all inputs are promoted to."""
        given = [*self.tensors, *([] if self.base is None else [self.base])]
        found = given[0].dtype
        for tensor in given[1:]:
            found = torch.promote_types(found, tensor.dtype)
        return found

    @property
    def result(self) -> torch.dtype:
        """The dtype of the merged tensor."""
        if self.dtype is not None:
            return self.dtype
        return self.common if self.base is None else self.base.dtype

    def read(self, index: int, start: int, stop: int) -> Tensor:
        """Elements of one model in the dtype of the computation; never to be modified.

        Args:
            index: of the model; -1 is the base.
            start: first element.
            stop: behind the last element.
        """
        tensor = self._base if index < 0 else self.tensors[index]
        return tensor.view(-1)[start:stop].to(self.work)

    def delta(self, index: int, start: int, stop: int) -> Tensor:
        """Elements of one model minus those of the base, in a buffer of their own."""
        return torch.sub(self.read(index, start, stop), self.read(-1, start, stop))

    def moved(self, index: int, start: int, stop: int) -> Tensor:
        """`delta` if there is a base, else `read` in a buffer of its own."""
        if self.base is not None:
            return self.delta(index, start, stop)
        return self.read(index, start, stop).clone()


@dataclass(frozen=True, eq=False)
class Prepared:
    """What `Method.prepare` found out.

    Attributes:
        inputs: the tensors, flat in memory, with all parameters filled in.
        facts: what the method needs of the whole tensor.
    """

    inputs: TensorInputs
    facts: Any = None

    def with_parameters(self, **values: Sequence[Value]) -> Prepared:
        """The same tensor with other parameters of the models.

        Args:
            values: name -> a value for each model. The name is one of the method's `scales`.
        """
        changed = [
            {**old, **{name: given[i] for name, given in values.items()}}
            for i, old in enumerate(self.inputs.parameters)
        ]
        return Prepared(dataclasses.replace(self.inputs, parameters=changed), self.facts)

    def values(self, name: str) -> list[float]:
        """The values of one parameter for all models."""
        return [float(given[name] or 0.0) for given in self.inputs.parameters]


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
        if self.cut == "rowwise":
            return inputs.row * max(1, BLOCK // inputs.row)
        return BLOCK

    def working_bytes(self, shape: Sequence[int], models: int) -> int:
        """An upper estimate of the memory that one tensor takes beside inputs and result.

        Args:
            shape: of the tensor.
            models: number of models.
        """
        row = max(1, shape[-1]) if shape else 1
        block = max(BLOCK, row) if self.cut == "rowwise" else BLOCK
        return 4 * block * (2 * models + 4)

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


def checked_inputs(method: Method, inputs: TensorInputs) -> TensorInputs:
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
        raise MembersError(f"{where} has {len(tensors)} tensors for {len(inputs.models)} models.")
    every = tensors if base is None else [*tensors, base]
    for tensor in every:
        if tensor.shape != every[0].shape:
            shapes = ", ".join(str(tuple(t.shape)) for t in every)
            raise MembersError(f"The tensors {where} have unequal shapes: {shapes}.")
        if not tensor.is_floating_point():
            raise MembersError(f"{where} is {tensor.dtype}, and only floating tensors are merged.")
    return dataclasses.replace(
        inputs,
        tensors=[tensor.contiguous() for tensor in tensors],
        base=None if base is None else base.contiguous(),
        parameters=checked_parameters(method, inputs.parameters, len(tensors), where),
    )


def check_count(method: Method | type[Method], count: int, allow_none: bool = False) -> None:
    """Check the number of models.

    Args:
        method: the method.
        count: number of models.
        allow_none: no model at all is fine.

    Raises:
        MembersError: too few or too many.
    """
    kind = method if isinstance(method, type) else type(method)
    if (allow_none and count == 0) or kind.least <= count <= (kind.most or count):
        return
    wanted = f"at least {kind.least}" if kind.most is None else f"at most {kind.most}"
    if kind.least == kind.most:
        wanted = f"exactly {kind.least}"
    beside = " beside the base" if kind.needs_base else ""
    raise MembersError(f"{name_of(kind)} takes {wanted} models{beside}, and {count} are given.")


def checked_parameters(
    method: Method, given: Sequence[Mapping[str, Value]], count: int, where: str
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


__all__ = ["BLOCK", "Method", "Prepared", "TensorInputs", "check_count", "methods", "name_of"]
