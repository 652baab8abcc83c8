"""Reinforced agent merging (arXiv 2601.13572): elements that one model changed are kept whole.

A model is active at an element if |theta_i - theta_0| > epsilon. With c active models

    merged = theta_0 + sum over active i of (theta_i - theta_0) / c

ramplus_tl multiplies the changes with c = 1 of model i by

    1 + r * min(shared_i / max(unique_i, epsilon), alpha)

shared_i and unique_i count the elements of the tensor at which i is active with and without others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from onefold.checkpoints.methods.base import Method, Prepared, TensorInputs, methods
from onefold.checkpoints.methods.lazily import torch
from onefold.checkpoints.methods.parameters import setting
from onefold.checkpoints.methods.products import blocks, total
from onefold.checkpoints.methods.trimming import Edge

if TYPE_CHECKING:
    from torch import Tensor


@methods.register("ram")
@dataclass(frozen=True)
class Ram(Method):
    """At every element the mean over the models that changed it.

    Attributes:
        epsilon: magnitude above which an element counts as changed.
    """

    epsilon: float = setting(1e-5, low=0.0, help="Magnitude above which an element has changed.")

    needs_base: ClassVar[bool] = True
    least: ClassVar[int] = 0

    def block(self, prepared: Prepared, plan: Any, start: int, stop: int) -> Tensor:
        """The base and the mean change."""
        changes, count = self.active(prepared.inputs, start, stop)
        merged = changes[0]
        for change in changes[1:]:
            merged.add_(change)
        return merged.div_(count.clamp_(min=1)).add_(prepared.inputs.read(-1, start, stop))

    def active(self, inputs: TensorInputs, start: int, stop: int) -> tuple[list[Tensor], Tensor]:
        """The changes of all models, 0 where they are not active, and how many are active."""
        edge = Edge(self.epsilon, self.epsilon)
        changes = [edge.above(change, start) for change in inputs.changes(start, stop)]
        count = changes[0].abs().sign_()
        for change in changes[1:]:
            count.add_(change.abs().sign_())
        return changes, count


@methods.register("ramplus_tl")
@dataclass(frozen=True)
class RamPlus(Ram):
    """As ram, with changes of a single model enlarged.

    Attributes:
        epsilon: magnitude above which an element counts as changed.
        r: how much changes of a single model are enlarged.
        alpha: greatest ratio of shared to single changes that counts.
    """

    r: float = setting(0.1, help="How much changes of a single model are enlarged.")
    alpha: float = setting(0.2, low=0.0, help="Greatest ratio of shared to single changes.")

    scales: ClassVar[tuple[str, ...]] = ("r", "alpha")

    def facts(self, inputs: TensorInputs) -> list[tuple[float, float]]:
        """For each model the numbers of its elements that it shares and that it alone changed."""
        shared, single = [0.0] * len(inputs.tensors), [0.0] * len(inputs.tensors)
        for start, stop in blocks(inputs.numel):
            changes, count = self.active(inputs, start, stop)
            alone = torch.eq(count, 1.0, out=count)
            for i, change in enumerate(changes):
                own = change.abs_().sign_()
                everywhere = total(own)
                found = total(own.mul_(alone))
                shared[i] += everywhere - found
                single[i] += found
        return list(zip(shared, single, strict=True))

    def block(self, prepared: Prepared, plan: Any, start: int, stop: int) -> Tensor:
        """The base and the mean change, that of single models enlarged."""
        changes, count = self.active(prepared.inputs, start, stop)
        alone = torch.eq(count, 1.0, out=torch.empty_like(count))
        merged = torch.zeros_like(count)
        for change, (shared, single) in zip(changes, prepared.facts, strict=True):
            ratio = min(max(shared / max(single, self.epsilon or 1e-300), 0.0), self.alpha)
            merged.add_(change)
            merged.add_(change.mul_(alone), alpha=self.r * ratio)
        return merged.div_(count.clamp_(min=1)).add_(prepared.inputs.read(-1, start, stop))
