"""Weights that are computed from others before they are used: weight norm."""

from __future__ import annotations

from onefold.symmetry.rules.call import Axes, Call, operator_name
from onefold.symmetry.rules.registry import rule
from onefold.symmetry.terms import DIAGONAL, ODD, ORTHOGONAL, WRITABLE, resolve, restrict, size
from onefold.symmetry.unification import unify


@rule("_weight_norm")
def weight_norm(call: Call) -> Axes:
    """The weight g v / |v|, with one length g for each index of axis `dim`, or one for all (-1).

    There is one norm of v for each length. The weight is used as v is, so that v keeps its name. A
    positive scale of an axis of outputs goes to g (to v too, which changes nothing), a sign to v.
    Along other axes the norm of v must be kept, and a scale of inputs would have to divide g, which
    is not written.
    """
    v, g, dim = call["v"], call["g"], int(call["dim"])
    axes = call.axes(v)
    for k, term in enumerate(axes):
        if k == dim:
            restrict(term, (DIAGONAL if _makes(call, dim) else ODD) - {WRITABLE})
        else:
            restrict(term, ORTHOGONAL - {WRITABLE})
            call.mix(term, [axes[dim]] if dim >= 0 else [])
    for k, lengths in enumerate(call.axes(g)):
        if size(lengths) > 1:
            unify(axes[dim], lengths)
            call.use(g, k, "scale")
    call.shows(v)
    return [resolve(term) for term in axes]


def _makes(call: Call, axis: int) -> bool:
    """Whether an axis of the weight holds the outputs of every layer that uses it."""
    names = [operator_name(user) for user in call.node.users]
    if axis == 0:
        return all(name in ("linear", "conv1d", "conv2d", "conv3d") for name in names)
    return axis == 1 and all(name.startswith("conv_transpose") for name in names)
