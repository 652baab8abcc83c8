"""Methods for the base and one other model: nearswap and Arcee fusion.

nearswap moves every element of the base towards the model by at most t:

    merged = theta_0 + a (theta_1 - theta_0),   a = clamp(t / max(|theta_1 - theta_0|, 1e-6), 0, 1)

Arcee fusion takes an element of the model where its importance is far above what is usual:

    I = |theta_1 - theta_0| * KL(softmax(theta_1) || softmax(theta_0))
    merged = theta_1 where I >= median(I) + 1.5 (q3(I) - q1(I)), else theta_0

The softmax and the divergence are over the last dimension, with 1e-8 added to the probabilities.
The quartiles are exact, over the whole tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from onefold.checkpoints.methods.base import Cut, Method, Prepared, TensorInputs, methods
from onefold.checkpoints.methods.lazily import torch
from onefold.checkpoints.methods.parameters import setting
from onefold.checkpoints.methods.products import blocks
from onefold.checkpoints.methods.ranking import Values, ranking_bytes
from onefold.checkpoints.methods.trimming import magnitudes

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST = 1e-6


@dataclass(frozen=True)
class PairMethod(Method):
    """Base of methods for the base and one other model."""

    needs_base: ClassVar[bool] = True
    least: ClassVar[int] = 1
    most: ClassVar[int | None] = 1


@methods.register("nearswap")
@dataclass(frozen=True)
class NearSwap(PairMethod):
    """The base, every element moved towards the other model by at most t.

    Attributes:
        t: greatest change of an element.
    """

    t: float = setting(required=True, low=0.0, help="Greatest change of an element.")

    scales: ClassVar[tuple[str, ...]] = ("t",)

    def block(self, prepared: Prepared, plan: Any, start: int, stop: int) -> Tensor:
        """The moved elements of the base."""
        inputs = prepared.inputs
        delta = inputs.delta(0, start, stop)
        if self.t >= SMALLEST:
            delta.clamp_(-self.t, self.t)
        else:
            delta.mul_(delta.abs().clamp_(min=SMALLEST).reciprocal_().mul_(self.t).clamp_(0, 1))
        return delta.add_(inputs.read(-1, start, stop))


@methods.register("arcee_fusion")
@dataclass(frozen=True)
class ArceeFusion(PairMethod):
    """The base, with the elements of the other model whose importance is unusual."""

    cut: ClassVar[Cut] = "rowwise"

    def facts(self, inputs: TensorInputs) -> tuple[Tensor, float]:
        """The divergence of each row, and the importance from which elements are taken."""
        row, step = inputs.row, self.step(inputs)
        parts = []
        for start, stop in blocks(inputs.numel, step):
            other, base = inputs.read(0, start, stop), inputs.read(-1, start, stop)
            parts.append(divergence(other.view(-1, row), base.view(-1, row)))
        rows = torch.cat(parts)

        def values(start: int, stop: int) -> Tensor:
            first, last = start // row, -(-stop // row)
            delta = inputs.delta(0, start, stop).abs_()
            if start % row == 0 and stop % row == 0:
                return delta.view(-1, row).mul_(rows[first:last, None]).view(-1)
            repeated = rows[first:last].repeat_interleave(row)[start - first * row :]
            return delta.mul_(repeated[: stop - start])

        low, middle, high = quartiles(values, inputs)
        return rows, middle + 1.5 * (high - low)

    def working_bytes(self, shape: Sequence[int], models: int) -> int:
        """An upper estimate of the memory that one tensor takes beside inputs and result."""
        return super().working_bytes(shape, models) + ranking_bytes(math.prod(shape))

    def block(self, prepared: Prepared, plan: Any, start: int, stop: int) -> Tensor:
        """The base, with the important elements of the other model."""
        inputs, (rows, limit) = prepared.inputs, prepared.facts
        row = inputs.row
        delta = inputs.delta(0, start, stop).view(-1, row)
        importance = delta.abs().mul_(rows[start // row : -(-stop // row), None])
        taken = torch.ge(importance, limit, out=torch.empty_like(importance))
        return delta.mul_(taken).view(-1).add_(inputs.read(-1, start, stop))


def divergence(rows: Tensor, base: Tensor) -> Tensor:
    """KL(softmax(rows) || softmax(base)) of each row; by rounding it may be just below 0.

    Args:
        rows: (rows, n).
        base: (rows, n).
    """
    p, q = torch.softmax(rows, -1).add_(1e-8), torch.softmax(base, -1).add_(1e-8)
    return torch.log(torch.div(p, q, out=q), out=q).mul_(p).sum(-1)


def quartiles(values: Values, inputs: TensorInputs) -> list[float]:
    """The three quartiles of a tensor, which may have negative elements."""
    numel = inputs.numel
    negative = sum(
        int(torch.count_nonzero(values(start, stop) < 0)) for start, stop in blocks(numel)
    )

    def above(start: int, stop: int) -> Tensor:
        return values(start, stop).clamp_(min=0)

    def below(start: int, stop: int) -> Tensor:
        return values(start, stop).neg_().clamp_(min=0)

    ranks = [int(q * (numel - 1)) for q in (0.25, 0.5, 0.75)]
    low = [numel - 1 - rank for rank in ranks if rank < negative]
    high = [rank for rank in ranks if rank >= negative]
    under = magnitudes(below, numel, low, inputs.work)
    return [-value for value in under] + magnitudes(above, numel, high, inputs.work)
