"""Sums of trimmed changes, with and without an election of signs.

    d_i = trim(theta_i - theta_0) * r_i        r_i = 1, or with `rescale` |delta_i|_1 / |trim|_1
    merged = theta_0 + lambda * sum_i w_i d_i / divisor

With an election (TIES, Yadav et al. 2023, arXiv 2306.01708) only those w_i d_i are summed whose
sign is that of the sum over all models; the divisor of `normalize` is the sum of their weights (1
where it is 0). Without one it is the sum of all weights.

TIES keeps the largest magnitudes of each tensor. Breadcrumbs (Davari and Belilovsky 2023,
arXiv 2312.06795) drops the share gamma of the largest ones first, and then the smallest ones until
the share `density` is left.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from onefold.checkpoints.methods.base import Prepared, TensorInputs, methods
from onefold.checkpoints.methods.election import elect
from onefold.checkpoints.methods.lazily import torch
from onefold.checkpoints.methods.parameters import DENSITY, WEIGHT, Parameter, setting
from onefold.checkpoints.methods.products import blocks, total
from onefold.checkpoints.methods.ranking import ranking_bytes
from onefold.checkpoints.methods.scratch import buffer
from onefold.checkpoints.methods.task_arithmetic import DeltaMethod
from onefold.checkpoints.methods.trimming import NONE, Edge, edges, kept_share

if TYPE_CHECKING:
    from torch import Tensor

LEAST_NORM = 1e-7  # of sums of magnitudes that are rescaled
NORMALIZE = "Divide by the sum of the weights that take part."


class Trim(Protocol):
    """Which elements of one model's change are kept."""

    def kept(self, values: Tensor, start: int) -> Tensor:
        """The kept elements of a part that begins at `start`; `values` may be changed."""
        ...


@dataclass(frozen=True)
class Everything:
    """Keeps all elements."""

    def kept(self, values: Tensor, start: int) -> Tensor:
        """All values."""
        return values


@dataclass(frozen=True)
class Between:
    """Keeps the magnitudes above one edge and not above another one."""

    low: Edge
    high: Edge | None = None

    def kept(self, values: Tensor, start: int) -> Tensor:
        """The kept elements; 0 in place of the other ones."""
        if self.high is None:
            return self.low.above(values, start)
        largest = buffer("largest", 0, len(values), values.dtype).copy_(values)
        return self.low.above(values, start).sub_(self.high.above(largest, start))


@dataclass(frozen=True)
class TrimmedMethod(DeltaMethod):
    """Base of the methods that trim each model's change before they are summed."""

    elects: ClassVar[bool] = False

    @abstractmethod
    def trim(self, inputs: TensorInputs, index: int) -> Trim:
        """What is kept of one model's change."""

    def facts(self, inputs: TensorInputs) -> list[tuple[Trim, float]]:
        """For each model what is kept, and the factor of `rescale`."""
        trims = [self.trim(inputs, i) for i in range(len(inputs.tensors))]
        factors = self.rescaling(inputs, trims) if self.rescale else [1.0] * len(trims)
        return list(zip(trims, factors, strict=True))

    def rescaling(self, inputs: TensorInputs, trims: Sequence[Trim]) -> list[float]:
        """The sum of magnitudes of each model's change, before trimming over after it."""
        before, after = [0.0] * len(trims), [0.0] * len(trims)
        for start, stop in blocks(inputs.numel, self.step(inputs)):
            for i, change in enumerate(inputs.changes(start, stop)):
                magnitudes = change.abs_()
                before[i] += total(magnitudes)
                after[i] += total(trims[i].kept(magnitudes, start))
        return [
            whole / kept if min(whole, kept) >= LEAST_NORM else 1.0
            for whole, kept in zip(before, after, strict=True)
        ]

    def working_bytes(self, shape: Sequence[int], models: int) -> int:
        """An upper estimate of the memory that one tensor takes beside inputs and result."""
        numel = math.prod(shape)
        own = models * -(-numel // 8) if self.random else ranking_bytes(numel)
        return super().working_bytes(shape, models) + own

    def block(self, prepared: Prepared, plan: Any, start: int, stop: int) -> Tensor:
        """The base and the merged change."""
        inputs, weights = prepared.inputs, prepared.values("weight")
        facts: list[tuple[Trim, float]] = prepared.facts
        changes = [
            facts[i][0].kept(change, start) for i, change in enumerate(inputs.changes(start, stop))
        ]
        factors = [weights[i] * facts[i][1] for i in range(len(weights))]
        base = inputs.read(-1, start, stop)
        if self.elects:
            return self.elected(changes, weights, factors).add_(base)
        scale = self.divided(weights)
        merged = changes[0].mul_(factors[0] * scale)
        for change, factor in zip(changes[1:], factors[1:], strict=True):
            merged.add_(change, alpha=factor * scale)
        return merged.add_(base)

    def elected(self, changes: list[Tensor], weights: list[float], factors: list[float]) -> Tensor:
        """The merged change after the election of signs.

        Args:
            changes: what is kept of each model's change; the tensors are used up.
            weights: of each model in the divisor.
            factors: of each model in the sum.
        """
        common = factors[0] if len(set(factors)) == 1 and factors[0] > 0 else None
        if common is None:
            changes = [change.mul_(f) for change, f in zip(changes, factors, strict=True)]
        found = elect(changes, weights if self.normalize else None)
        if found.agreeing is not None:  # 1 in place of 0
            zero = torch.eq(found.agreeing, 0.0, out=changes[0])
            found.magnitude.div_(found.agreeing.add_(zero))
        return found.signed(self.lambda_ * (common or 1.0))


@methods.register("ties")
@dataclass(frozen=True)
class Ties(TrimmedMethod):
    """The largest changes of each model, where its sign is that of the sum.

    Attributes:
        normalize: divide by the sum of the weights that take part.
        rescale: restore the sum of magnitudes that a tensor's change had.
        lambda_: factor of the merged change.
        int8_mask: accepted and without effect.
    """

    normalize: bool = setting(True, kind=bool, help=NORMALIZE)

    elects: ClassVar[bool] = True

    def trim(self, inputs: TensorInputs, index: int) -> Trim:
        """The share `density` of the largest magnitudes."""
        density, numel = float(inputs.parameters[index]["density"] or 0.0), inputs.numel
        if density >= 1:
            return Everything()
        if density <= 0:
            return Between(Edge(NONE, NONE))
        below = numel - kept_share(density, numel)

        def values(start: int, stop: int) -> Tensor:
            return inputs.delta(index, start, stop)

        return Between(*edges(values, numel, [below], inputs.ranking, True))


GAMMA = Parameter("gamma", 0.01, low=0.0, high=1.0, help="The share of the largest that drops.")


@methods.register("breadcrumbs")
@dataclass(frozen=True)
class Breadcrumbs(TrimmedMethod):
    """The sum of the changes of middle magnitude of all models.

    Attributes:
        normalize: divide by the sum of the weights.
        rescale: restore the sum of magnitudes that a tensor's change had.
        lambda_: factor of the merged change.
        int8_mask: accepted and without effect.
    """

    per_model: ClassVar[tuple[Parameter, ...]] = (WEIGHT, DENSITY, GAMMA)

    def trim(self, inputs: TensorInputs, index: int) -> Trim:
        """The share `density` that is left without the largest and the smallest magnitudes."""
        given, numel = inputs.parameters[index], inputs.numel
        density, gamma = float(given["density"] or 0.0), float(given["gamma"] or 0.0)
        if density >= 1:
            return Everything()
        kept = int(density * numel)
        below = max(0, numel - kept - int(gamma * numel))
        if kept <= 0:
            return Between(Edge(NONE, NONE))

        def values(start: int, stop: int) -> Tensor:
            return inputs.delta(index, start, stop)

        low, high = edges(values, numel, [below, below + kept], inputs.ranking, False)
        return Between(low, None if below + kept >= numel else high)


@methods.register("breadcrumbs_ties")
@dataclass(frozen=True)
class BreadcrumbsTies(Breadcrumbs):
    """The changes of middle magnitude of each model, where its sign is that of the sum.

    Attributes:
        normalize: divide by the sum of the weights that take part.
        rescale: restore the sum of magnitudes that a tensor's change had.
        lambda_: factor of the merged change.
        int8_mask: accepted and without effect.
    """

    elects: ClassVar[bool] = True
