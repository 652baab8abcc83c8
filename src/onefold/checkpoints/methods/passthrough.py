"""One model as it is, or times a number: merged = scale * theta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from onefold.checkpoints.methods.base import Method, Prepared, methods
from onefold.checkpoints.methods.lazily import torch
from onefold.checkpoints.methods.parameters import Parameter

if TYPE_CHECKING:
    from torch import Tensor

SCALE = Parameter("scale", None, help="Factor of the model's tensors; none by default.")


@methods.register("passthrough")
@dataclass(frozen=True)
class Passthrough(Method):
    """One model as it is, or times a number."""

    per_model: ClassVar[tuple[Parameter, ...]] = (SCALE,)
    allows_base: ClassVar[bool] = False
    takes_base_as_model: ClassVar[bool] = True
    least: ClassVar[int] = 1
    most: ClassVar[int | None] = 1
    scales: ClassVar[tuple[str, ...]] = ("scale",)

    def block(self, prepared: Prepared, plan: Any, start: int, stop: int) -> Tensor:
        """The model's elements times the scale."""
        scale = prepared.inputs.parameters[0]["scale"]
        values = prepared.inputs.read(0, start, stop)
        return values if scale is None else torch.mul(values, float(scale))
