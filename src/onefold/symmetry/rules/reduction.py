"""Reductions and softmax: a summed axis may move freely, as nothing of its order is left."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from onefold.symmetry.rules.call import Axes, Call, operator_name
from onefold.symmetry.rules.pointwise import pointwise
from onefold.symmetry.rules.registry import rule
from onefold.symmetry.terms import (
    MEAN_FIXING,
    ORTHOGONAL,
    PERMUTATION,
    POSITIVE,
    UNIT,
    freeze,
    restrict,
)


@rule("mean", "sum")
def linear_reduction(call: Call) -> Any:
    """Mean or sum: linear along the axes that stay.

    Along the other axes it is blind to maps that fix the mean; of squares, to all orthogonal ones.
    """
    return _reduce(call, ORTHOGONAL if is_square(call.input) else MEAN_FIXING, None)


@rule("pow", "square")
def power(call: Call) -> Any:
    """x^p, coordinate by coordinate.

    If squares are only ever summed over an axis, orthogonal maps of that axis change nothing.
    """
    if not is_square(call.node):
        return pointwise(call)
    axes = call.axes(call.input)
    summed = [set(_dims(Call(user, call.facts), len(axes))) for user in call.node.users]
    for k, term in enumerate(axes):
        restrict(term, ORTHOGONAL if all(k in dims for dims in summed) else PERMUTATION)
    return axes


def is_square(node: fx.Node) -> bool:
    """Whether a node squares a tensor and only means and sums read it."""
    name = operator_name(node)
    if name != "square" and not (name == "pow" and node.args[1:] == (2,)):
        return False
    return bool(node.users) and all(operator_name(user) in ("mean", "sum") for user in node.users)


@rule("amax", "amin", "max", "min")
def extremum(call: Call) -> Any:
    """Largest or smallest value; the form with two tensors is pointwise."""
    if call.is_tensor(call.get("other")):
        return pointwise(call)
    return _reduce(call, PERMUTATION, POSITIVE)


@rule("norm", "linalg_vector_norm")
def norm(call: Call) -> Any:
    """The length of a vector: orthogonal maps keep it, if it is the Euclidean one."""
    order = call.first("ord", "p")
    return _reduce(call, ORTHOGONAL if order is None or order == 2 else PERMUTATION, PERMUTATION)


@rule("var", "std", "var_mean")
def spread(call: Call) -> Any:
    """Spread about the mean: orthogonal maps that fix the mean keep it."""
    return _reduce(call, MEAN_FIXING, PERMUTATION)


@rule("prod", "logsumexp", "any", "all", "count_nonzero")
def nonlinear_reduction(call: Call) -> Any:
    """Reductions that commute with permutations alone."""
    return _reduce(call, PERMUTATION, PERMUTATION)


@rule("softmax", "_softmax", "log_softmax", "_log_softmax")
def softmax(call: Call) -> Axes:
    """exp(x) / sum exp(x) along one axis."""
    axes = call.axes(call.input)
    axis = call["dim"] % len(axes)
    call.mix(axes[axis], [term for k, term in enumerate(axes) if k != axis])
    for term in axes:
        restrict(term, PERMUTATION)
    call.kind("post")
    return axes


@rule("cumsum", "cumprod", "argmax", "argmin", "sort", "topk", "diff")
def ordered(call: Call) -> Any:
    """Operators for which the order along the axis matters."""
    axes = call.axes(call.input)
    dim = call.get("dim")
    dims = range(len(axes)) if dim is None else [dim % len(axes)]
    for k, term in enumerate(axes):
        if k in dims:
            freeze(term, f"order along an axis ({call.name})")
            call.mix(term, [other for j, other in enumerate(axes) if j != k])
        else:
            restrict(term, PERMUTATION)
    return _shaped(call, axes, list(dims))


def _reduce(call: Call, reduced: frozenset[str], kept: frozenset[str] | None) -> Any:
    axes = call.axes(call.input)
    dims = _dims(call, len(axes))
    for k, term in enumerate(axes):
        if k in dims:
            restrict(term, reduced)
            call.mix(term, [other for j, other in enumerate(axes) if j not in dims])
            if isinstance(call.node.meta["val"], tuple | list) and call.name in ("max", "min"):
                freeze(term, "index of an extremum")
        elif kept is not None:
            restrict(term, kept)
    return _shaped(call, axes, dims)


def _dims(call: Call, rank: int) -> list[int]:
    """The axes that the operator reduces; all of them if it names none."""
    dim = call.get("dim")
    if dim is None or dim == []:
        return list(range(rank))
    return [d % rank for d in ([dim] if isinstance(dim, int) else dim)]


def _shaped(call: Call, axes: Axes, dims: list[int]) -> Any:
    """The remaining axes of each output; kept reduced axes have length one."""
    value = call.node.meta["val"]
    rank = (value if isinstance(value, torch.Tensor) else value[0]).dim()
    if rank != len(axes):
        result = [term for k, term in enumerate(axes) if k not in dims]
    elif dims and call.get("keepdim"):
        result = [UNIT if k in dims else term for k, term in enumerate(axes)]
    else:
        result = axes
    return result if isinstance(value, torch.Tensor) else [list(result) for _ in value]
