"""The point of a draw, the likeness of two vertices, and the gradients of both in closed form.

    point         w_t = sum_k c_kt v_kt                    for every tensor t
    likeness      cos^2(v_i, v_j) = s^2 / (n_i n_j)
    with          s = <v_i, v_j>,  n_i = |v_i|^2           over all weights of 2 or more dimensions
    gradient      dL/dv_k = c_k dL/dw
                  d cos^2/dv_i = 2 s / (n_i n_j) (v_j - v_i s / n_i)

Wortsman et al. 2021 (arXiv 2102.10472). Both parts of a tensor's gradient meet in one node of the
graph: each vertex's gradient is written once, and nothing but the vertices themselves is held for
it. One node covers several tensors. A gradient with respect to the point is therefore freed before
the vertices' gradients exist for all tensors. With create_graph=True plain operators form the
gradients, which can then be differentiated again.
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
# Elements of a part: a node of the graph costs some 50 microseconds, and its gradients are held at
# once.
PART = 2**18


@dataclass(eq=False)
class Draw:
    """One point of the subspace.

    Attributes:
        coefficients: for each vertex, one number for each tensor.
        pair: the two vertices whose likeness is penalised.
        compared: positions of the tensors over which they are compared; empty if they are not.
        spent: whether a backward pass has gone through the point.
        check: is called with the draw before gradients are computed; None for nothing.
    """

    coefficients: list[list[float]]
    pair: tuple[int, int]
    compared: Sequence[int] = ()
    spent: bool = False
    check: Callable[[Draw], None] | None = None


def mix(vertices: Sequence[Sequence[Tensor]], draw: Draw) -> tuple[list[Tensor], Tensor | None]:
    """The tensors of the point, and the likeness of the draw's pair; both differentiable.

    Args:
        vertices: for each vertex its tensors, in one order.
        draw: the point, and the pair that is compared.

    Returns:
        One tensor for each position, and the likeness as a number, None if nothing is compared.
    """
    if transforming():
        return _plainly_mixed(vertices, draw)
    flat = [tensor for vertex in vertices for tensor in vertex]
    differentiable = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in flat)
    points: list[Tensor] = []
    products: list[Tensor] = []
    for part in _parts(vertices[0]):
        if differentiable:
            *own, product = _Mix.apply(
                draw, part, *(vertex[t] for vertex in vertices for t in part)
            )  # type: ignore[no-untyped-call]
        else:
            own, product = _mixed([[vertex[t] for t in part] for vertex in vertices], draw, part)
        points += own
        products += [] if product is None else [product]
    return points, _Likeness.apply(*products) if products else None  # type: ignore[no-untyped-call]


def transforming() -> bool:
    """Whether a transform of torch.func (grad, vmap, jvp) is at work, which knows no _Mix."""
    active = getattr(torch._C, "_are_functorch_transforms_active", None)
    return active is not None and bool(active())


def _plainly_mixed(
    vertices: Sequence[Sequence[Tensor]], draw: Draw
) -> tuple[list[Tensor], Tensor | None]:
    """The point and the likeness by plain operators."""
    points = []
    for t, tensors in enumerate(zip(*vertices, strict=True)):
        terms = [tensor * row[t] for tensor, row in zip(tensors, draw.coefficients, strict=True)]
        points.append(sum(terms[1:], terms[0]))
    if not draw.compared:
        return points, None
    both = ([vertices[k][t].flatten() for t in draw.compared] for k in draw.pair)
    first, second = (torch.cat(tensors) for tensors in both)
    return points, torch.dot(first, second) ** 2 / (first.square().sum() * second.square().sum())


class _Mix(torch.autograd.Function):
    """Some tensors of the point, and <v_i, v_j>, |v_i|^2 and |v_j|^2 of the pair over them.

    The vertices are not saved for backward, so that several backward passes may share one draw.
    """

    @staticmethod
    def forward(
        ctx: Any, draw: Draw, part: Sequence[int], *flat: Tensor
    ) -> tuple[Tensor | None, ...]:
        size = len(part)
        vertices = [flat[k : k + size] for k in range(0, len(flat), size)]
        points, product = _mixed(vertices, draw, part)
        ctx.draw, ctx.part, ctx.count = draw, part, len(vertices)
        # The tensors themselves, so that gradients can be differentiated again.
        ctx.compared = (
            []
            if product is None
            else [[vertices[k][at] for at in _compared(draw, part)] for k in draw.pair]
        )
        ctx.versions = _versions(ctx.compared)
        ctx.set_materialize_grads(False)
        return *points, product

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        draw: Draw = ctx.draw
        if draw.check is not None:
            draw.check(draw)
        draw.spent = True
        *of_points, of_product = gradients
        size = len(ctx.part)
        needed = [ctx.needs_input_grad[2 + k * size : 2 + (k + 1) * size] for k in range(ctx.count)]
        terms = None
        if of_product is not None:
            if _versions(ctx.compared) != ctx.versions:
                raise SubspaceError(
                    "The vertices were modified between diversity_penalty() and its backward pass;"
                    " take the optimiser's step after it."
                )
            at, (i, j) = _compared(draw, ctx.part), draw.pair
            inner, norm, other = of_product.unbind()
            first, second = (dict(zip(at, tensors, strict=True)) for tensors in ctx.compared)
            terms = Terms((first, second), {i: (2 * norm, inner), j: (inner, 2 * other)})
        rows = [[own[t] for t in ctx.part] for own in draw.coefficients]
        if torch.is_grad_enabled():  # create_graph=True
            result = _differentiable(rows, of_points, terms, needed)
            return None, None, *(gradient for vertex in result for gradient in vertex)
        cpu = on_cpu(next(gradient for gradient in gradients if gradient is not None))
        result = (_tensor_by_tensor if cpu else _all_at_once)(rows, of_points, terms, needed)
        return None, None, *(gradient for vertex in result for gradient in vertex)


class _Likeness(torch.autograd.Function):
    """cos^2 from the products of all parts.

    Nothing is saved for backward that a first pass would free.
    """

    @staticmethod
    def forward(ctx: Any, *products: Tensor) -> Tensor:
        ctx.products, ctx.total = products, torch.stack(products).sum(0)
        inner, norm, other = ctx.total.unbind()
        value: Tensor = inner**2 / (norm * other)
        return value

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, ...]:
        again = torch.is_grad_enabled()  # create_graph=True
        total = torch.stack(ctx.products).sum(0) if again else ctx.total
        inner, norm, other = total.unbind()
        toward = upstream[0] * 2 * inner / (norm * other)
        gradient = torch.stack(
            [toward, -toward * inner / (2 * norm), -toward * inner / (2 * other)]
        )
        return (gradient,) * len(ctx.products)


@dataclass(frozen=True)
class Terms:
    """A gradient as a combination of two vertices.

    Attributes:
        vertices: the tensors of the two vertices, by position.
        factors: by vertex that the gradient belongs to, its factors of the first and the second.
    """

    vertices: tuple[dict[int, Tensor], dict[int, Tensor]]
    factors: dict[int, tuple[Tensor, Tensor]]


def _parts(tensors: Sequence[Tensor]) -> list[list[int]]:
    """Positions of the tensors in parts of about PART elements, one node of the graph each."""
    parts: list[list[int]] = [[]]
    room = PART
    for t, tensor in enumerate(tensors):
        if room <= 0:
            parts.append([])
            room = PART
        parts[-1].append(t)
        room -= tensor.numel()
    return parts


def _compared(draw: Draw, part: Sequence[int]) -> list[int]:
    """Positions within the part of the tensors that are compared."""
    chosen = set(draw.compared)
    return [at for at, t in enumerate(part) if t in chosen]


def _versions(tensors: Sequence[Sequence[Tensor]]) -> list[int]:
    return [tensor._version for own in tensors for tensor in own]


def on_cpu(tensor: Tensor) -> bool:
    """Whether passes over memory take the time, and not the number of kernels."""
    return tensor.device.type == "cpu"


def _mixed(
    vertices: Sequence[Sequence[Tensor]], draw: Draw, part: Sequence[int]
) -> tuple[list[Tensor], Tensor | None]:
    """Some tensors of the point, and the products of the pair over those that are compared.

    Returns:
        The tensors, and (3,) <v_i, v_j>, |v_i|^2 and |v_j|^2, None if nothing is compared.
    """
    (i, j), compared, products, points = draw.pair, set(_compared(draw, part)), [], []
    rows = [[own[t] for t in part] for own in draw.coefficients]
    if on_cpu(vertices[0][0]):
        for at, (tensors, row) in enumerate(
            zip(zip(*vertices, strict=True), zip(*rows, strict=True), strict=True)
        ):
            if at in compared:
                point, product = combine_and_compare(tensors, row, draw.pair)
                products.append(product)
            else:
                (point,) = combine(tensors, [row])
            points.append(point)
    else:
        points = list(torch._foreach_mul(list(vertices[0]), rows[0]))
        for vertex, own in zip(vertices[1:], rows[1:], strict=True):
            torch._foreach_add_(points, torch._foreach_mul(list(vertex), own))
        products = [
            torch.stack([(a * b).sum(), (a * a).sum(), (b * b).sum()])
            for a, b in ((vertices[i][t], vertices[j][t]) for t in sorted(compared))
        ]
    return points, torch.stack(products).sum(0) if products else None


def _differentiable(
    coefficients: Sequence[Sequence[float]],
    gradients: Sequence[Tensor | None],
    terms: Terms | None,
    needed: Sequence[Sequence[bool]],
) -> Gradients:
    """The vertices' gradients by operators that can be differentiated again."""
    result: Gradients = [[None] * len(gradients) for _ in needed]
    for k, own in enumerate(needed):
        factors = None if terms is None else terms.factors.get(k)
        for t, gradient in enumerate(gradients):
            parts = [] if gradient is None else [gradient * coefficients[k][t]]
            if terms is not None and factors is not None and t in terms.vertices[0]:
                both = zip(terms.vertices, factors, strict=True)
                parts += [tensors[t] * factor.to(tensors[t].dtype) for tensors, factor in both]
            if own[t] and parts:
                result[k][t] = sum(parts[1:], parts[0])
    return result


def _tensor_by_tensor(
    coefficients: Sequence[Sequence[float]],
    gradients: Sequence[Tensor | None],
    terms: Terms | None,
    needed: Sequence[Sequence[bool]],
) -> Gradients:
    """The vertices' gradients, as far as they are needed, one position after the other."""
    factors = (
        {} if terms is None else {k: [f.item() for f in pair] for k, pair in terms.factors.items()}
    )
    result: Gradients = [[None] * len(gradients) for _ in needed]
    for t, gradient in enumerate(gradients):
        others = (
            []
            if terms is None or t not in terms.vertices[0]
            else [each[t] for each in terms.vertices]
        )
        at = [
            k
            for k, own in enumerate(needed)
            if own[t] and (gradient is not None or (others and k in factors))
        ]
        if at:
            inputs = [*([] if gradient is None else [gradient]), *others]
            rows = [
                [coefficients[k][t]] * (gradient is not None)
                + (factors.get(k, [0.0, 0.0]) if others else [])
                for k in at
            ]
            for k, own in zip(at, combine(inputs, rows), strict=True):
                result[k][t] = own
    return result


def _all_at_once(
    coefficients: Sequence[Sequence[float]],
    gradients: Sequence[Tensor | None],
    terms: Terms | None,
    needed: Sequence[Sequence[bool]],
) -> Gradients:
    """The vertices' gradients with few kernels.

    No number is read from the device, since reading would wait for it.
    """
    result: Gradients = [[None] * len(gradients) for _ in needed]
    for k, own in enumerate(needed):
        at = [t for t, gradient in enumerate(gradients) if gradient is not None and own[t]]
        if at:
            scaled = torch._foreach_mul(
                [g for t in at if (g := gradients[t]) is not None], [coefficients[k][t] for t in at]
            )
            for t, value in zip(at, scaled, strict=True):
                result[k][t] = value
        for tensors, factor in (
            zip(terms.vertices, terms.factors.get(k, ()), strict=False) if terms is not None else ()
        ):
            where = [t for t in tensors if own[t]]
            for t, value in zip(
                where,
                torch._foreach_mul([tensors[t] for t in where], factor) if where else (),
                strict=True,
            ):
                before = result[k][t]
                result[k][t] = value if before is None else before.add_(value)
    return result
