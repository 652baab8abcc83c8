"""At every element the largest change of all models (Marczak et al. 2024, arXiv 2407.06322).

    merged = theta_0 + lambda * delta_j,   j = argmax_i |delta_i|,   delta_i = theta_i - theta_0

If two changes of unequal signs are equally large, the positive one is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from onefold.checkpoints.methods.base import Method, Prepared, methods
from onefold.checkpoints.methods.lazily import torch
from onefold.checkpoints.methods.parameters import setting

if TYPE_CHECKING:
    from torch import Tensor


@methods.register("magmax")
@dataclass(frozen=True)
class MagMax(Method):
    """At every element the largest change of all models.

    Attributes:
        lambda_: factor of the merged change.
    """

    lambda_: float = setting(1.0, name="lambda", help="Factor of the merged change.")

    needs_base: ClassVar[bool] = True
    scales: ClassVar[tuple[str, ...]] = ("lambda",)

    def block(self, prepared: Prepared, plan: Any, start: int, stop: int) -> Tensor:
        """The base and the largest change."""
        inputs = prepared.inputs
        changes = inputs.changes(start, stop)
        highest = next(changes)
        lowest = highest.clone()
        for change in changes:
            torch.maximum(highest, change, out=highest)
            torch.minimum(lowest, change, out=lowest)
        # the sum is at least 0 where the highest is the largest one
        up = torch.ge(torch.add(highest, lowest), 0.0, out=torch.empty_like(highest))
        largest = highest.mul_(up).add_(lowest.mul_(up.neg_().add_(1.0)))
        return largest.mul_(self.lambda_).add_(inputs.read(-1, start, stop))
