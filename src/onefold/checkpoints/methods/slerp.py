"""Interpolation of two models on a sphere (Shoemake 1985, Animating rotation with quaternions).

    slerp(a, b; t) = sin((1-t) O) / sin(O) * a + sin(t O) / sin(O) * b

O is the angle between a and b, which are not normalised themselves. Vectors of almost one line are
interpolated linearly: (1-t) a + t b.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from onefold.checkpoints.methods.base import Cut, Method, Prepared, TensorInputs, methods
from onefold.checkpoints.methods.combining import combined, combined_groups
from onefold.checkpoints.methods.lazily import torch
from onefold.checkpoints.methods.parameters import WEIGHT, Parameter, setting
from onefold.checkpoints.methods.products import Along, columns_of, products, row_of

if TYPE_CHECKING:
    from torch import Tensor

ALMOST_ONE_LINE = 0.9995  # of |cos O|


def spherical(cosine: Tensor, straight: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """The factors of both vectors.

    Args:
        cosine: (...) float64, cosines of the angles.
        straight: (...) bool, where interpolation is linear.
        t: 0 for the first vector, 1 for the second one.
    """
    angle = torch.acos(cosine.clamp(-1, 1).masked_fill(straight, 0.0))
    first = torch.sin((1 - t) * angle) / torch.sin(angle)
    second = torch.sin(t * angle) / torch.sin(angle)
    return first.masked_fill(straight, 1 - t), second.masked_fill(straight, t)


@methods.register("slerp")
@dataclass(frozen=True)
class Slerp(Method):
    """From the base to one other model along the sphere; every tensor is one vector.

    Attributes:
        t: 0 is the base, 1 the other model.
    """

    t: float = setting(required=True, help="How far: 0 is the base, 1 the other model.")

    needs_base: ClassVar[bool] = True
    least: ClassVar[int] = 1
    most: ClassVar[int | None] = 1
    scales: ClassVar[tuple[str, ...]] = ("t",)

    def facts(self, inputs: TensorInputs) -> float:
        """The cosine of the angle between both tensors."""
        found = products(inputs, (-1, 0), inputs.read)[0]
        norms = [float(found[i, i]) ** 0.5 for i in (0, 1)]
        return float(found[0, 1]) / _above(norms[0]) / _above(norms[1])

    def plan(self, prepared: Prepared) -> tuple[float, float] | None:
        """The factors of the base and of the model; None for linear interpolation."""
        cosine = torch.tensor(prepared.facts, dtype=torch.float64).clamp(-1, 1)
        if abs(float(cosine)) > ALMOST_ONE_LINE:
            return None
        first, second = spherical(cosine, torch.tensor(False), self.t)
        return float(first), float(second)

    def block(self, prepared: Prepared, plan: Any, start: int, stop: int) -> Tensor:
        """The sum of both times their factors."""
        inputs = prepared.inputs
        base, other = inputs.read(-1, start, stop), inputs.read(0, start, stop)
        if plan is None:
            return torch.lerp(base, other, self.t)
        return torch.mul(base, plan[0]).add_(other, alpha=plan[1])


def _above(norm: float) -> float:
    return norm if norm > 1e-8 else 1.0


@methods.register("nuslerp")
@dataclass(frozen=True)
class NuSlerp(Method):
    """Between two models, or between what both changed in the base, along the sphere.

    t = w_2 / (w_1 + w_2), or 1/2 if the weights sum to less than 1e-6. With a base the vectors are
    the differences from it, and it is added at the end.

    Attributes:
        nuslerp_flatten: a whole tensor is one vector.
        nuslerp_row_wise: without `nuslerp_flatten`, vectors run along the first dimension; if
            false, along the last one.
    """

    nuslerp_flatten: bool = setting(True, kind=bool, help="A whole tensor is one vector.")
    nuslerp_row_wise: bool = setting(
        False, kind=bool, help="Vectors along the first dimension rather than the last."
    )

    per_model: ClassVar[tuple[Parameter, ...]] = (WEIGHT,)
    least: ClassVar[int] = 2
    most: ClassVar[int | None] = 2
    cut: ClassVar[Cut] = "rowwise"
    scales: ClassVar[tuple[str, ...]] = ("weight",)

    def along(self, shape: Sequence[int]) -> Along:
        """What the vectors of a tensor are."""
        if self.nuslerp_flatten or len(shape) < 2:
            return "tensor"
        return "columns" if self.nuslerp_row_wise else "rows"

    def row(self, shape: Sequence[int]) -> int:
        """The length of a row."""
        if self.along(shape) == "tensor":
            return 1
        return columns_of(shape) if self.nuslerp_row_wise else row_of(shape)

    def facts(self, inputs: TensorInputs) -> Tensor:
        """The cosines of the angles, one for each vector."""
        read = inputs.read if inputs.base is None else inputs.delta
        found = products(inputs, (0, 1), read, self.along(inputs.shape))
        norms = torch.diagonal(found, dim1=1, dim2=2).sqrt().clamp(min=1e-7)
        return (found[:, 0, 1] / norms[:, 0] / norms[:, 1]).clamp(-1, 1)

    def plan(self, prepared: Prepared) -> list[float] | Tensor:
        """The factors of both models."""
        weights, cosine = prepared.values("weight"), prepared.facts
        t = 0.5 if abs(sum(weights)) < 1e-6 else weights[1] / sum(weights)
        factors = torch.stack(spherical(cosine, 1 - cosine.square() <= 1e-16, t))
        along = self.along(prepared.inputs.shape)
        if along == "tensor":
            return [float(factor) for factor in factors[:, 0]]
        return factors[:, :, None] if along == "rows" else factors[:, None, :]

    def block(self, prepared: Prepared, plan: Any, start: int, stop: int) -> Tensor:
        """The sum of both times their factors."""
        if isinstance(plan, list):
            return combined(prepared.inputs, plan, start, stop)
        return combined_groups(prepared.inputs, plan, start, stop, self.row(prepared.inputs.shape))
