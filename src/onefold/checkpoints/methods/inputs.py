"""One tensor of all models: what a method is given, and what it has found out about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from onefold.checkpoints.methods.lazily import torch
from onefold.checkpoints.methods.parameters import Value
from onefold.checkpoints.methods.scratch import buffer

if TYPE_CHECKING:
    from torch import Tensor


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
        compared: the dtype to which changes are rounded where magnitudes are compared. None: what
            the dtypes of all inputs are promoted to.
    """

    name: str
    tensors: Sequence[Tensor]
    models: Sequence[str]
    base: Tensor | None = None
    parameters: Sequence[Mapping[str, Value]] = ()
    seed: int = 0
    dtype: torch.dtype | None = None
    compared: torch.dtype | None = None

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

    @cached_property
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
    def ranking(self) -> torch.dtype:
        """The dtype in which magnitudes are compared: a 16-bit one, or that of the computation."""
        found = self.compared or self.common
        return found if found in (torch.bfloat16, torch.float16) else self.work

    @property
    def result(self) -> torch.dtype:
        """The dtype of the merged tensor."""
        if self.dtype is not None:
            return self.dtype
        return self.common if self.base is None else self.base.dtype

    def read(self, index: int, start: int, stop: int) -> Tensor:
        """Elements of one model in the dtype of the computation; never to be modified.

        They are good until this thread reads that model again.

        Args:
            index: of the model; -1 is the base.
            start: first element.
            stop: behind the last element.
        """
        tensor = self._base if index < 0 else self.tensors[index]
        part = tensor.view(-1)[start:stop]
        if part.dtype == self.work:
            return part
        return buffer("read", index, stop - start, self.work).copy_(part)

    def changes(self, start: int, stop: int) -> Iterator[Tensor]:
        """`delta` of all models in turn."""
        base = self.read(-1, start, stop)
        for i in range(len(self.tensors)):
            yield self.minus(i, base, start, stop)

    def delta(self, index: int, start: int, stop: int) -> Tensor:
        """Elements of one model minus those of the base, which may be modified.

        They are good until this thread asks for those of the same model again.
        """
        return self.minus(index, self.read(-1, start, stop), start, stop)

    def moved(self, index: int, start: int, stop: int) -> Tensor:
        """`delta` if there is a base, else `read` in memory that may be modified."""
        if self.base is not None:
            return self.delta(index, start, stop)
        part = self.tensors[index].view(-1)[start:stop]
        return buffer("delta", index, stop - start, self.work).copy_(part)

    def minus(self, index: int, base: Tensor, start: int, stop: int) -> Tensor:
        """`delta`, from those elements of the base that `read` gave."""
        part = self.tensors[index].view(-1)[start:stop]
        found = buffer("delta", index, stop - start, self.work)
        if part.dtype == self.work:
            return torch.sub(part, base, out=found)
        return found.copy_(part).sub_(base)


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
