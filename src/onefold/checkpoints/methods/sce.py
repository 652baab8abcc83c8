"""Select, calculate, erase (Wan et al. 2024, arXiv 2408.07990).

Select: of the elements at which the models' changes delta_i vary at all, the share `select_topk` of
the largest variances is kept, the other ones become 0. Calculate: c_i is the mean square of what is
kept of delta_i, divided by the sum over the models (1/n if that sum is below 1e-6). Erase: models
whose sign is not that of the sum take no part.

    merged = theta_0 + sum_i c_i delta_i / max(sum_i c_i, 1e-6)       over the agreeing models
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from onefold.checkpoints.methods.base import Method, Prepared, TensorInputs, methods
from onefold.checkpoints.methods.election import elect
from onefold.checkpoints.methods.lazily import np, torch
from onefold.checkpoints.methods.parameters import setting
from onefold.checkpoints.methods.products import blocks, total
from onefold.checkpoints.methods.ranking import ranking_bytes
from onefold.checkpoints.methods.trimming import ALL, NONE, Edge, edges

if TYPE_CHECKING:
    from torch import Tensor


@methods.register("sce")
@dataclass(frozen=True)
class Sce(Method):
    """The changes that vary most between models, weighted by their squares, where signs agree.

    Attributes:
        select_topk: the share of the elements that is kept.
        int8_mask: accepted and without effect.
    """

    select_topk: float = setting(1.0, low=0.0, high=1.0, help="The share of elements kept.")
    int8_mask: bool = setting(False, kind=bool, used=False, help="Accepted and without effect.")

    needs_base: ClassVar[bool] = True
    least: ClassVar[int] = 0

    def facts(self, inputs: TensorInputs) -> tuple[Edge, list[float]]:
        """The edge of the selected variances, and the weight of each model."""
        selected = self.selected(inputs)
        squares = [0.0] * len(inputs.tensors)
        for start, stop in blocks(inputs.numel):
            for i, change in enumerate(changes_of(inputs, selected, start, stop)):
                squares[i] += total(change.square_())
        means = [square / inputs.numel for square in squares]
        summed = sum(means)
        if summed < 1e-6:
            return selected, [1 / len(means)] * len(means)
        return selected, [mean / summed for mean in means]

    def selected(self, inputs: TensorInputs) -> Edge:
        """The edge above which variances are selected."""
        if self.select_topk >= 1:
            return Edge(ALL, ALL)
        dtype = torch.bfloat16 if inputs.ranking == torch.bfloat16 else inputs.work

        def variances(start: int, stop: int) -> Tensor:
            return variance(list(inputs.changes(start, stop)))

        varying = sum(
            int(torch.count_nonzero(variances(start, stop).to(dtype)))
            for start, stop in blocks(inputs.numel)
        )
        # In float32, as in mergekit: 0.7 of 1440 is 1008 there, and 1007.99 in float64.
        kept = min(varying, int(np.float32(varying) * np.float32(self.select_topk)))
        if kept == 0:
            return Edge(NONE, NONE)
        return edges(variances, inputs.numel, [inputs.numel - kept], dtype, True)[0]

    def working_bytes(self, shape: Sequence[int], models: int) -> int:
        """An upper estimate of the memory that one tensor takes beside inputs and result."""
        own = ranking_bytes(math.prod(shape)) if self.select_topk < 1 else 0
        return super().working_bytes(shape, models) + own

    def block(self, prepared: Prepared, plan: Any, start: int, stop: int) -> Tensor:
        """The base and the merged change."""
        selected, weights = prepared.facts
        changes = changes_of(prepared.inputs, selected, start, stop)
        found = elect(changes, weights, weights)
        assert found.agreeing is not None
        found.magnitude.div_(found.agreeing.clamp_(min=1e-6))
        return found.signed().add_(prepared.inputs.read(-1, start, stop))


def variance(changes: list[Tensor]) -> Tensor:
    """The variance over the models at each element, divided by their number."""
    mean = changes[0].clone()
    for change in changes[1:]:
        mean.add_(change)
    mean.div_(len(changes))
    found = torch.zeros_like(mean)
    for change in changes:
        difference = torch.sub(change, mean)
        found.addcmul_(difference, difference)
    return found.div_(len(changes))


def changes_of(inputs: TensorInputs, selected: Edge, start: int, stop: int) -> list[Tensor]:
    """The changes of all models, 0 where the variance is not selected."""
    changes = list(inputs.changes(start, stop))
    if selected == Edge(ALL, ALL):
        return changes
    kept = selected.above(variance(changes), start).sign_()
    return [change.mul_(kept) for change in changes]
