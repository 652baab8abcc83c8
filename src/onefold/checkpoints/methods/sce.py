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

from onefold.checkpoints.methods.base import BLOCK, Method, Prepared, TensorInputs, methods
from onefold.checkpoints.methods.election import elect
from onefold.checkpoints.methods.lazily import np, torch
from onefold.checkpoints.methods.masks import Mask, packed
from onefold.checkpoints.methods.parameters import setting
from onefold.checkpoints.methods.products import blocks, total_of_squares
from onefold.checkpoints.methods.ranking import ranking_bytes
from onefold.checkpoints.methods.scratch import buffer
from onefold.checkpoints.methods.trimming import Edge, edge_by_zeros

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

    def facts(self, inputs: TensorInputs) -> tuple[Mask | None, list[float]]:
        """Which elements are selected, and the weight of each model; None: all of them."""
        edge = self.edge(inputs)
        squares = [0.0] * len(inputs.tensors)

        def flags(start: int, stop: int) -> Any:
            """Select the elements of a block, and sum their squares on the way."""
            changes = list(inputs.changes(start, stop))
            found = edge.flags(variance(changes), start) if edge is not None else None
            for i, change in enumerate(changes):
                squares[i] += total_of_squares(selected(change, found))
            return found

        if edge is None:
            for start, stop in blocks(inputs.numel):
                flags(start, stop)
        mask = None if edge is None else packed(inputs.numel, BLOCK, flags)
        means = [square / inputs.numel for square in squares]
        summed = sum(means)
        if summed < 1e-6:
            return mask, [1 / len(means)] * len(means)
        return mask, [mean / summed for mean in means]

    def edge(self, inputs: TensorInputs) -> Edge | None:
        """The edge above which variances are selected; None: all elements are selected."""
        if self.select_topk >= 1:
            return None
        dtype = torch.bfloat16 if inputs.ranking == torch.bfloat16 else inputs.work

        def variances(start: int, stop: int) -> Tensor:
            return variance(list(inputs.changes(start, stop)))

        def below(zeros: int) -> int:
            """How many are below the edge, if so many variances are 0."""
            varying = inputs.numel - zeros
            # In float32, as in mergekit: 0.7 of 1440 is 1008 there, and 1007.99 in float64.
            kept = int(np.float32(varying) * np.float32(self.select_topk))
            return inputs.numel - min(varying, kept)

        return edge_by_zeros(variances, inputs.numel, below, dtype)

    def working_bytes(self, shape: Sequence[int], models: int) -> int:
        """An upper estimate of the memory that one tensor takes beside inputs and result."""
        numel = math.prod(shape)
        own = ranking_bytes(numel) + -(-numel // 8) if self.select_topk < 1 else 0
        return super().working_bytes(shape, models) + own

    def block(self, prepared: Prepared, plan: Any, start: int, stop: int) -> Tensor:
        """The base and the merged change."""
        mask, weights = prepared.facts
        changes = list(prepared.inputs.changes(start, stop))
        if mask is not None:
            flags = mask.flags(start, stop)
            changes = [selected(change, flags) for change in changes]
        found = elect(changes, weights, weights)
        assert found.agreeing is not None
        found.magnitude.div_(found.agreeing.clamp_(min=1e-6))
        return found.signed().add_(prepared.inputs.read(-1, start, stop))


def variance(changes: list[Tensor]) -> Tensor:
    """The variance over the models at each element, divided by their number."""
    count, first = len(changes), changes[0]
    found, step, mean = (buffer("variance", i, len(first), first.dtype) for i in range(3))
    if count == 2:
        return torch.sub(first, changes[1], out=found).square_().mul_(0.25)
    mean.copy_(first)
    for change in changes[1:]:
        mean.add_(change)
    mean.div_(count)
    torch.sub(first, mean, out=found).square_()
    for change in changes[1:]:
        torch.sub(change, mean, out=step)
        found.addcmul_(step, step)
    return found.div_(count)


def selected(change: Tensor, flags: Any) -> Tensor:
    """The change with 0 where it is not selected; it is modified. None: all are selected."""
    if flags is not None:
        np.multiply(change.numpy(), flags, out=change.numpy())
    return change
