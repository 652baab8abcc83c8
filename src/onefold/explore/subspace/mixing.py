"""The point of a draw out of its vertices, the likeness of two of them, and the gradients of both in closed form.

    point         w_t = sum_k c_kt v_kt                    for every tensor t
    likeness      cos^2(v_i, v_j) = s^2 / (n_i n_j),       s = <v_i, v_j>, n_i = |v_i|^2, over all weights of two or more dimensions
    gradient      dL/dv_k = c_k dL/dw,    d cos^2/dv_i = 2 s / (n_i n_j) (v_j - v_i s / n_i)

Wortsman et al. 2021 (arXiv 2102.10472). Both stand in one node of the graph, which the gradients of all tensors reach together: each vertex's
gradient is written once, and nothing is kept for it but the vertices themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from onefold.errors import SubspaceError
from onefold.explore.subspace.linear import combine, combine_and_compare

Gradients = list[list[Tensor | None]]


@dataclass(eq=False)
class Draw:
    """One point of the subspace. coefficients: for each vertex, one number for each tensor.

    pair: the two vertices whose likeness is penalised, over the tensors whose positions are in `compared`; empty where nothing is.
    spent: a backward pass has gone through it. check: called before gradients are computed.
    """

    coefficients: list[list[float]]
    pair: tuple[int, int]
    compared: Sequence[int] = ()
    spent: bool = False
    check: Callable[[Draw], None] | None = None


def mix(vertices: Sequence[Sequence[Tensor]], draw: Draw) -> tuple[list[Tensor], Tensor | None]:
    """The tensors of the point, and the likeness of the draw's pair, a number (None where nothing is compared); both differentiable.

    vertices: for each vertex its tensors, in one order.
    """
    flat = [tensor for vertex in vertices for tensor in vertex]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in flat):
        *points, likeness = _Mix.apply(draw, len(vertices), *flat)  # type: ignore[no-untyped-call]
        return points, likeness
    points, found = _mixed(vertices, draw)
    return points, None if found is None else found.value


class _Mix(torch.autograd.Function):
    """Points and likeness in one node. The vertices are not saved for backward, so that several backward passes may share one draw."""

    @staticmethod
    def forward(ctx: Any, draw: Draw, count: int, *flat: Tensor) -> tuple[Tensor | None, ...]:
        size = len(flat) // count
        vertices = [flat[k * size : (k + 1) * size] for k in range(count)]
        ctx.draw, ctx.size, ctx.count = draw, size, count
        points, ctx.likeness = _mixed(vertices, draw)
        ctx.set_materialize_grads(False)
        return *points, None if ctx.likeness is None else ctx.likeness.value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        draw: Draw = ctx.draw
        if draw.check is not None:
            draw.check(draw)
        draw.spent = True
        *of_points, of_likeness = gradients
        needed = [ctx.needs_input_grad[2 + k * ctx.size : 2 + (k + 1) * ctx.size] for k in range(ctx.count)]
        terms = None if of_likeness is None else ctx.likeness.terms(of_likeness)
        cpu = on_cpu(next(gradient for gradient in gradients if gradient is not None))
        result = (_tensor_by_tensor if cpu else _all_at_once)(draw, of_points, terms, needed)
        return None, None, *(gradient for vertex in result for gradient in vertex)


class Likeness:
    """cos^2 of the draw's pair of vertices, and what its gradient is made of."""

    def __init__(self, vertices: Sequence[Sequence[Tensor]], draw: Draw, products: Sequence[Tensor]) -> None:
        """products: for each tensor compared <v_i, v_j>, |v_i|^2 and |v_j|^2."""
        self.draw = draw
        self.first, self.second = ({t: vertices[k][t].detach() for t in draw.compared} for k in draw.pair)
        self._versions = self._now()
        self.inner, self.norm, self.other_norm = torch.stack(list(products)).sum(0).unbind()
        self.value = self.inner**2 / (self.norm * self.other_norm)

    def terms(self, upstream: Tensor) -> Terms:
        """The gradient times `upstream`. Raises SubspaceError where the vertices were modified since."""
        if self._now() != self._versions:
            raise SubspaceError("The vertices were modified between diversity_penalty() and its backward pass; take the optimiser's step after it.")
        toward = upstream * 2 * self.inner / (self.norm * self.other_norm)
        i, j = self.draw.pair
        return Terms(
            (self.first, self.second),
            {i: (-toward * self.inner / self.norm, toward), j: (toward, -toward * self.inner / self.other_norm)},
        )

    def _now(self) -> list[int]:
        return [tensor._version for each in (self.first, self.second) for tensor in each.values()]


@dataclass(frozen=True)
class Terms:
    """A gradient as a combination of two vertices. vertices: their tensors by position. factors: for either vertex, of the first and second."""

    vertices: tuple[dict[int, Tensor], dict[int, Tensor]]
    factors: dict[int, tuple[Tensor, Tensor]]


def on_cpu(tensor: Tensor) -> bool:
    """Whether passes over memory are what costs, and not kernels."""
    return tensor.device.type == "cpu"


def _mixed(vertices: Sequence[Sequence[Tensor]], draw: Draw) -> tuple[list[Tensor], Likeness | None]:
    """The tensors of the point, and the likeness of the pair."""
    i, j = draw.pair
    compared, products, points = set(draw.compared), [], []
    if on_cpu(vertices[0][0]):
        for t, (tensors, row) in enumerate(zip(zip(*vertices, strict=True), zip(*draw.coefficients, strict=True), strict=True)):
            if t in compared:
                point, product = combine_and_compare(tensors, row, draw.pair)
                products.append(product)
            else:
                (point,) = combine(tensors, [row])
            points.append(point)
    else:
        points = list(torch._foreach_mul(list(vertices[0]), list(draw.coefficients[0])))
        for vertex, own in zip(vertices[1:], draw.coefficients[1:], strict=True):
            torch._foreach_add_(points, torch._foreach_mul(list(vertex), list(own)))
        products = [torch.stack([(a * b).sum(), (a * a).sum(), (b * b).sum()]) for a, b in ((vertices[i][t], vertices[j][t]) for t in draw.compared)]
    return points, Likeness(vertices, draw, products) if draw.compared else None


def _tensor_by_tensor(draw: Draw, gradients: Sequence[Tensor | None], terms: Terms | None, needed: Sequence[Sequence[bool]]) -> Gradients:
    """The vertices' gradients, where they are needed, one tensor of all vertices after the other."""
    factors = {} if terms is None else {k: [f.item() for f in pair] for k, pair in terms.factors.items()}
    result: Gradients = [[None] * len(gradients) for _ in needed]
    for t, gradient in enumerate(gradients):
        others = [] if terms is None or t not in terms.vertices[0] else [each[t] for each in terms.vertices]
        at = [k for k, own in enumerate(needed) if own[t] and (gradient is not None or (others and k in factors))]
        if at:
            inputs = [*([] if gradient is None else [gradient]), *others]
            rows = [[draw.coefficients[k][t]] * (gradient is not None) + (factors.get(k, [0.0, 0.0]) if others else []) for k in at]
            for k, own in zip(at, combine(inputs, rows), strict=True):
                result[k][t] = own
    return result


def _all_at_once(draw: Draw, gradients: Sequence[Tensor | None], terms: Terms | None, needed: Sequence[Sequence[bool]]) -> Gradients:
    """The same with few kernels, and with no number read from the device, which would wait for it."""
    result: Gradients = [[None] * len(gradients) for _ in needed]
    for k, own in enumerate(needed):
        at = [t for t, gradient in enumerate(gradients) if gradient is not None and own[t]]
        if at:
            scaled = torch._foreach_mul([g for t in at if (g := gradients[t]) is not None], [draw.coefficients[k][t] for t in at])
            for t, value in zip(at, scaled, strict=True):
                result[k][t] = value
        for tensors, factor in zip(terms.vertices, terms.factors.get(k, ()), strict=False) if terms is not None else ():
            where = [t for t in tensors if own[t]]
            for t, value in zip(where, torch._foreach_mul([tensors[t] for t in where], factor) if where else (), strict=True):
                before = result[k][t]
                result[k][t] = value if before is None else before.add_(value)
    return result
