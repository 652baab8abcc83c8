"""From the base towards the mean, as far as the models agree (Jang et al. 2024, arXiv 2403.19522).

    t = n c / (1 + (n - 1) c),    merged = theta_0 + t mean_i (theta_i - theta_0)

c is the mean cosine over all pairs of the models' differences from the base. The products of norms
in it are at least 1e-6, and t is 0 where the denominator is below 1e-6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from onefold.checkpoints.methods.base import Cut, Method, Prepared, TensorInputs, methods
from onefold.checkpoints.methods.combining import combined, combined_groups
from onefold.checkpoints.methods.lazily import torch
from onefold.checkpoints.methods.parameters import setting
from onefold.checkpoints.methods.products import products, row_of

if TYPE_CHECKING:
    from torch import Tensor


@methods.register("model_stock")
@dataclass(frozen=True)
class ModelStock(Method):
    """From the base towards the mean of the models, by the angles between their changes.

    Attributes:
        filter_wise: one angle for each row rather than for each tensor.
    """

    filter_wise: bool = setting(False, kind=bool, help="One angle per row rather than per tensor.")

    needs_base: ClassVar[bool] = True
    least: ClassVar[int] = 2
    cut: ClassVar[Cut] = "rowwise"

    def row(self, shape: Sequence[int]) -> int:
        """The length of a row."""
        return row_of(shape) if self.filter_wise else 1

    def facts(self, inputs: TensorInputs) -> Tensor:
        """t, one for each row or one in all."""
        count, along = len(inputs.tensors), "rows" if self.filter_wise else "tensor"
        found = products(inputs, range(count), inputs.delta, along)  # type: ignore[arg-type]
        norms = torch.diagonal(found, dim1=1, dim2=2).sqrt()
        pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
        cosines = [
            (found[:, i, j] / (norms[:, i] * norms[:, j]).clamp(min=1e-6)).clamp(-1, 1)
            for i, j in pairs
        ]
        cosine = torch.stack(cosines).mean(0)
        below = 1 + (count - 1) * cosine
        singular = below.abs() < 1e-6
        t = count * cosine / below.masked_fill(singular, 1.0)
        return t.masked_fill(singular, 0.0)

    def plan(self, prepared: Prepared) -> list[float] | Tensor:
        """The factor of each model's change."""
        count, t = len(prepared.inputs.tensors), prepared.facts
        if not self.filter_wise:
            return [float(t) / count] * count
        factors: Tensor = (t / count)[None, :, None]
        return factors.expand(count, -1, 1)

    def block(self, prepared: Prepared, plan: Any, start: int, stop: int) -> Tensor:
        """The base and the sum of the changes times their factors."""
        if isinstance(plan, list):
            return combined(prepared.inputs, plan, start, stop)
        return combined_groups(prepared.inputs, plan, start, stop, prepared.inputs.row)
