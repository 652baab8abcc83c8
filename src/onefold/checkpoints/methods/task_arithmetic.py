"""The weighted sum of what the models changed (Ilharco et al. 2023, arXiv 2212.04089).

    merged = theta_0 + lambda * sum_i w_i (theta_i - theta_0) / divisor

The divisor is 1, or sum_i w_i with `normalize` (1 if that is below 1e-8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from onefold.checkpoints.methods.base import Method, Prepared, methods
from onefold.checkpoints.methods.combining import combined
from onefold.checkpoints.methods.parameters import DENSITY, WEIGHT, Parameter, setting

if TYPE_CHECKING:
    from torch import Tensor

UNUSED_DENSITY = Parameter(
    "density", 1.0, low=0.0, high=1.0, used=False, help="Accepted and without effect."
)


@dataclass(frozen=True)
class DeltaMethod(Method):
    """Base of the methods that sum what the models changed.

    Attributes:
        normalize: divide by the sum of the weights that take part.
        rescale: after trimming, restore the sum of magnitudes that a tensor's changes had.
        lambda_: factor of the merged change.
        int8_mask: accepted and without effect.
    """

    normalize: bool = setting(False, kind=bool, help="Divide by the sum of the weights.")
    rescale: bool = setting(False, kind=bool, help="Restore the sum of magnitudes after trimming.")
    lambda_: float = setting(1.0, name="lambda", help="Factor of the merged change.")
    int8_mask: bool = setting(False, kind=bool, used=False, help="Accepted and without effect.")

    per_model: ClassVar[tuple[Parameter, ...]] = (WEIGHT, DENSITY)
    needs_base: ClassVar[bool] = True
    least: ClassVar[int] = 0
    scales: ClassVar[tuple[str, ...]] = ("weight", "lambda", "normalize")

    def divided(self, weights: list[float]) -> float:
        """The factor lambda, divided by the sum of all weights if `normalize`."""
        total = sum(weights)
        return self.lambda_ / (total if self.normalize and abs(total) >= 1e-8 else 1.0)


@methods.register("task_arithmetic")
@dataclass(frozen=True)
class TaskArithmetic(DeltaMethod):
    """The base plus the weighted sum of what the models changed.

    Attributes:
        normalize: divide by the sum of the weights.
        rescale: accepted and without effect, since nothing is trimmed.
        lambda_: factor of the merged change.
        int8_mask: accepted and without effect.
    """

    rescale: bool = setting(False, kind=bool, used=False, help="Accepted and without effect.")

    per_model: ClassVar[tuple[Parameter, ...]] = (WEIGHT, UNUSED_DENSITY)

    def plan(self, prepared: Prepared) -> list[float]:
        """The factor of each model's change."""
        weights = prepared.values("weight")
        factor = self.divided(weights)
        return [factor * weight for weight in weights]

    def block(self, prepared: Prepared, plan: Any, start: int, stop: int) -> Tensor:
        """The base and the sum of the changes times their factors."""
        return combined(prepared.inputs, plan, start, stop)
