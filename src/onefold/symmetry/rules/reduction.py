"""Reductions and softmax: what is summed over may move freely, as nothing of its order is left."""

from __future__ import annotations

from typing import Any

import torch

from onefold.symmetry.rules.call import Axes, Call
from onefold.symmetry.rules.registry import rule
from onefold.symmetry.terms import MEAN_FIXING, PERMUTATION, POSITIVE, UNIT, freeze, restrict


@rule("mean", "sum")
def linear_reduction(call: Call) -> Any:
    """Mean or sum: linear along the axes that stay, and blind to maps along the others that fix the mean."""
    return _reduce(call, MEAN_FIXING, None)


@rule("amax", "amin", "max", "min")
def extremum(call: Call) -> Any:
    """Largest or smallest value; the form with two tensors is pointwise."""
    if call.is_tensor(call.get("other")):
        from onefold.symmetry.rules.pointwise import pointwise

        return pointwise(call)
    return _reduce(call, PERMUTATION, POSITIVE)


@rule("var", "std", "var_mean", "prod", "norm", "linalg_vector_norm", "logsumexp", "any", "all", "count_nonzero")
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


@rule("cumsum", "cumprod", "argmax", "argmin", "sort", "topk")
def ordered(call: Call) -> Any:
    """The order along the axis matters."""
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
    dim = call.get("dim")
    dims = list(range(len(axes))) if dim is None or dim == [] else [d % len(axes) for d in ([dim] if isinstance(dim, int) else dim)]
    for k, term in enumerate(axes):
        if k in dims:
            restrict(term, reduced)
            call.mix(term, [other for j, other in enumerate(axes) if j not in dims])
            if isinstance(call.node.meta["val"], tuple | list) and call.name in ("max", "min"):
                freeze(term, "index of an extremum")
        elif kept is not None:
            restrict(term, kept)
    return _shaped(call, axes, dims)


def _shaped(call: Call, axes: Axes, dims: list[int]) -> Any:
    """The remaining axes, with or without the reduced ones as axes of length one, for each output."""
    value = call.node.meta["val"]
    rank = (value if isinstance(value, torch.Tensor) else value[0]).dim()
    if rank != len(axes):
        result = [term for k, term in enumerate(axes) if k not in dims]
    elif dims and call.get("keepdim"):
        result = [UNIT if k in dims else term for k, term in enumerate(axes)]
    else:
        result = axes
    return result if isinstance(value, torch.Tensor) else [list(result) for _ in value]
