"""The repulsion from recorded solutions, and its gradient in closed form.

    penalty       (factor / L) sum_j sum_l k(d2_lj)
    with          d2_lj = |theta_l - theta*_lj|^2 / n_lj,   n_lj = |theta*_lj - theta_0l|^2 + 1e-12
    gradient      (factor / L) sum_j k'(d2_lj) 2 (theta_l - theta*_lj) / n_lj

The sums run over the solutions j and the L groups l of the scope. For kernels of a direction, with
u = theta - theta_0 and v = theta* - theta_0, the gradient is

    (factor / L) sum_j (dk/dp v + 2 dk/dr2 u) / n_lj

If a group of a solution is exactly as it was at the start, there is no distance to measure in. The
group is then left out of that solution's sum; L stays the number of groups.

Value and gradient are computed together. One node of the graph holds the gradient: the loss may be
scaled, accumulated, clipped and reduced over processes as usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from onefold.explore.persistent.distances import by_group, differences, inner, scale_, squares, wide
from onefold.explore.persistent.kernels import DIRECTION, Kernel

NORMALISER = 1e-12
Evaluated = tuple[Tensor, list[Tensor] | None]


class Repulsion(Protocol):
    """A penalty on the parameters of a round."""

    device: torch.device

    def evaluate(
        self, parameters: Sequence[Tensor], factor: float, width: float, gradient: bool
    ) -> Evaluated:
        """The penalty, and its gradient.

        Args:
            parameters: those of the scope, in the order of the groups.
            factor: multiplies the kernels.
            width: of the kernel.
            gradient: whether the gradient is wanted.

        Returns:
            The penalty as a tensor without axes and outside any graph, and the gradient as new
            tensors, or None.
        """


@dataclass(frozen=True, eq=False)
class Anchor:
    """A point that repels.

    Attributes:
        tensors: theta* or, if `displaced`, theta* - theta_0.
        displaced: which of the two.
        inverse: (groups,) 1 / n; 0 if a group is left out.
        counts: (groups,) 1; 0 if a group is left out.
    """

    tensors: list[Tensor]
    displaced: bool
    inverse: Tensor
    counts: Tensor


class ParameterRepulsion:
    """Repulsion in the space of parameters.

    Args:
        kernel: of a distance or a direction.
        start: theta_0, one tensor for each parameter of the scope.
        members: (groups, tensors), 1 if a tensor belongs to the group, else 0.
    """

    def __init__(self, kernel: Kernel, start: Sequence[Tensor], members: Tensor) -> None:
        self.kernel, self.start = kernel, list(start)
        self.device = self.start[0].device
        self.members = members.to(self.device, wide(self.start))
        self._group = self.members.max(0).indices
        self.anchors: list[Anchor] = []

    def add(self, tensors: Sequence[Tensor], displaced: bool) -> None:
        """Repel from one more point: theta*, or theta* - theta_0 if it is `displaced`."""
        found = [tensor.to(own.device) for tensor, own in zip(tensors, self.start, strict=True)]
        way = found if displaced else differences(found, self.start)
        length = self.lengths(way)
        if self.kernel.of == DIRECTION:
            found, displaced = way, True
        counts = (length > 0).to(length.dtype)
        self.anchors.append(
            Anchor(
                found, displaced, torch.where(length > 0, 1 / (length + NORMALISER), 0.0), counts
            )
        )

    def lengths(self, way: Sequence[Tensor]) -> Tensor:
        """The squared length of every group, (groups,)."""
        return by_group(squares(way), self.members)

    def evaluate(
        self, parameters: Sequence[Tensor], factor: float, width: float, gradient: bool
    ) -> Evaluated:
        """The penalty and, if `gradient`, its gradient; as `Repulsion.evaluate`."""
        factor /= len(self.members)
        direction = self.kernel.of == DIRECTION
        way = (
            differences(parameters, self.start)
            if direction or any(anchor.displaced for anchor in self.anchors)
            else []
        )
        return (self._direction if direction else self._distance)(
            list(parameters), way, factor, width, gradient
        )

    def _distance(
        self,
        parameters: list[Tensor],
        way: list[Tensor],
        factor: float,
        width: float,
        gradient: bool,
    ) -> Evaluated:
        values, result = [], None
        for anchor in self.anchors:
            apart = differences(way if anchor.displaced else parameters, anchor.tensors)
            value, slope = self.kernel.values(
                by_group(squares(apart), self.members) * anchor.inverse, width
            )
            values.append(torch.dot(value, anchor.counts))
            if gradient:
                scale_(apart, ((2 * factor) * slope * anchor.inverse)[self._group])
                result = _plus(result, apart)
        return _total(values) * factor, result

    def _direction(
        self,
        parameters: list[Tensor],
        way: list[Tensor],
        factor: float,
        width: float,
        gradient: bool,
    ) -> Evaluated:
        values, result = [], None
        gone, of_way = self.lengths(way), torch.zeros_like(self.anchors[0].inverse)
        for anchor in self.anchors:
            toward = by_group(inner(way, anchor.tensors), self.members) * anchor.inverse
            value, by_toward, by_gone = self.kernel.values(toward, gone * anchor.inverse, width)
            values.append(torch.dot(value, anchor.counts))
            if gradient:
                pull = [
                    tensor.to(own.dtype, copy=True)
                    for tensor, own in zip(anchor.tensors, parameters, strict=True)
                ]
                result = _plus(
                    result, scale_(pull, (factor * by_toward * anchor.inverse)[self._group])
                )
                of_way = of_way + 2 * factor * by_gone * anchor.inverse
        if result is not None:
            result = _plus(result, scale_(way, of_way[self._group]))
        return _total(values) * factor, result


def as_node(value: Tensor, gradient: list[Tensor], parameters: Sequence[Tensor]) -> Tensor:
    """The value as a number whose gradient with respect to the parameters is the one given."""
    result: Tensor = _Known.apply((value, gradient), *parameters)  # type: ignore[no-untyped-call]
    return result


class _Known(torch.autograd.Function):
    """A number with a gradient that is known already.

    The gradient is that of the parameters at the time of the forward pass, even if they change
    after.
    """

    @staticmethod
    def forward(ctx: Any, known: tuple[Tensor, list[Tensor]], *parameters: Tensor) -> Tensor:
        value, ctx.gradient = known
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        needed = [k for k, own in enumerate(ctx.needs_input_grad[1:]) if own]
        wanted = [ctx.gradient[k] for k in needed]
        scaled = (
            torch._foreach_mul(wanted, upstream.item())
            if upstream.device.type == "cpu"
            else [g * upstream.to(g.device) for g in wanted]
        )
        result: list[Tensor | None] = [None] * len(ctx.gradient)
        for k, tensor in zip(needed, scaled, strict=True):
            result[k] = tensor
        return None, *result


def _plus(total: list[Tensor] | None, more: list[Tensor]) -> list[Tensor]:
    if total is None:
        return more
    torch._foreach_add_(total, more)
    return total


def _total(values: list[Tensor]) -> Tensor:
    return torch.stack(values).sum() if len(values) > 1 else values[0]
