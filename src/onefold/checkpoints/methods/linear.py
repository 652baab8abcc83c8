"""A weighted mean of all models (model soups, Wortsman et al. 2022, arXiv 2203.05482).

merged = sum_i w_i theta_i / sum_i w_i        without `normalize`: no division
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from onefold.checkpoints.methods.base import Method, Prepared, methods
from onefold.checkpoints.methods.combining import combined
from onefold.checkpoints.methods.parameters import WEIGHT, Parameter, Value, setting

if TYPE_CHECKING:
    from torch import Tensor


@methods.register("linear")
@dataclass(frozen=True)
class Linear(Method):
    """A weighted mean of all models; the base, if given, is one of them.

    Attributes:
        normalize: divide by the sum of the weights.
    """

    normalize: bool = setting(True, kind=bool, help="Divide by the sum of the weights.")

    per_model: ClassVar[tuple[Parameter, ...]] = (WEIGHT,)
    allows_base: ClassVar[bool] = False
    takes_base_as_model: ClassVar[bool] = True
    scales: ClassVar[tuple[str, ...]] = ("weight", "normalize")

    def problem(self, parameters: Sequence[Mapping[str, Value]]) -> str | None:
        """Weights that sum to 0 cannot be normalised."""
        if self.normalize and sum(float(p["weight"] or 0.0) for p in parameters) == 0:
            return "The weights of linear sum to 0; change one, or set normalize to false."
        return None

    def plan(self, prepared: Prepared) -> list[float]:
        """The factor of each model."""
        weights = prepared.values("weight")
        total = sum(weights) if self.normalize else 1.0
        return [weight / total for weight in weights]

    def block(self, prepared: Prepared, plan: Any, start: int, stop: int) -> Tensor:
        """The sum of the models times their factors."""
        return combined(prepared.inputs, plan, start, stop)
