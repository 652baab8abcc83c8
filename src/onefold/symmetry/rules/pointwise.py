"""Pointwise operators: axes of equal length move together.

The nonlinearity says which maps it commutes with.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import fx
from torch.utils import _pytree as pytree

from onefold.symmetry.rules.call import Axes, Call, operator_name
from onefold.symmetry.rules.registry import rule
from onefold.symmetry.terms import (
    ALL,
    DIAGONAL,
    FOLDED,
    MEAN_FIXING,
    ODD,
    PERMUTATION,
    POSITIVE,
    UNIT,
    WRITABLE,
    resolve,
    restrict,
    size,
)
from onefold.symmetry.unification import unify

# T f(x) = f(T x) for all T of the class: positively homogeneous functions, odd functions.
HOMOGENEOUS = ("relu", "leaky_relu", "rrelu", "abs", "absolute")
ODD_FUNCTIONS = [
    *("tanh", "sin", "asin", "sinh", "asinh", "tan", "atan", "atanh", "erf", "sign", "sgn"),
    *("hardshrink", "softshrink"),
]
IDENTITIES = [
    *("to", "_to_copy", "type_as", "float", "double", "half", "bfloat16", "positive"),
    *("clone", "contiguous", "alias", "detach", "lift_fresh_copy", "_assert_tensor_metadata"),
    *("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout"),
]
# Pointwise operators that PyTorch does not tag as such.
UNTAGGED = [
    *("hardswish", "hardsigmoid", "hardtanh", "relu6", "selu", "celu", "mish", "softsign"),
    *("silu", "gelu", "elu", "softplus", "log_sigmoid", "logit", "threshold", "clamp"),
    *("fill", "masked_fill", "where", "addcmul", "addcdiv", "lerp", "rsub"),
]


@rule(*IDENTITIES, "neg", "negative")
def identity(call: Call) -> Axes:
    """Linear and pointwise: everything passes."""
    axes = call.axes(call.input)
    value = call.node.meta["val"]
    if not isinstance(value, torch.Tensor):
        return [axes, axes]  # type: ignore[list-item]  # native_dropout: values and mask
    if not value.is_floating_point():
        for term in axes:
            restrict(term, PERMUTATION)
    call.shows(call.input)
    return axes


@rule(*HOMOGENEOUS)
def homogeneous(call: Call) -> Axes:
    """f(s x) = s f(x) for s > 0."""
    return _function(call, POSITIVE)


@rule(*ODD_FUNCTIONS)
def odd(call: Call) -> Axes:
    """f(-x) = -f(x)."""
    return _function(call, ODD)


def _function(call: Call, maps: frozenset[str]) -> Axes:
    axes = call.axes(call.input)
    for term in axes:
        restrict(term, maps)
    call.kind("post")
    return axes


@rule("add", "sub", "subtract")
def add(call: Call) -> Axes:
    """Sum of two tensors, or of a tensor and numbers."""
    operands = tensors(call)
    call.kind("pre")
    for operand in operands:
        _use_all(call, operand, "table")
    if len(operands) == 1:
        return _broadcast_operands(call, operands, MEAN_FIXING, MEAN_FIXING)
    # If only one holds the axis, the other adds a constant along it.
    return _broadcast_operands(call, operands, ALL, MEAN_FIXING)


@rule("mul", "multiply")
def multiply(call: Call) -> Axes:
    """Product of two tensors, or of a tensor and a number.

    A parameter scales coordinate by coordinate; two features gate each other.
    """
    operands = _unexpanded(call, tensors(call))
    if _is_scaled_weight(call, operands):
        return _broadcast_operands(call, operands, ALL, ALL)
    from_state = [operand in call.facts.origin for operand in operands]
    if len(operands) == 2 and from_state.count(True) == 1:
        weight = operands[from_state.index(True)]
        _use_all(call, weight, "depthwise")
        scaled = (DIAGONAL - {WRITABLE}).union(FOLDED.values())
        axes = _broadcast_operands(call, operands, scaled, ALL)
        wide = [term for term in call.axes(weight) if size(term) > 1]
        if len(wide) == 1:
            call.scaled(weight, None, wide[0])
        return axes
    return _broadcast_operands(call, operands, PERMUTATION, ALL)


@rule("div", "divide", "true_divide")
def divide(call: Call) -> Axes:
    """Quotient: linear in the numerator along axes that the denominator lacks."""
    operands = _unexpanded(call, tensors(call))
    numerator = call.arguments.get("self")
    exact = call.get("rounding_mode") is None
    if exact and operands[:1] == [numerator] and _is_scaled_weight(call, operands):
        return _broadcast_operands(call, operands, ALL, ALL)
    if exact and isinstance(numerator, fx.Node):
        if len(operands) == 1:
            return _broadcast_operands(call, operands, ALL, ALL)
        other = operands[1]
        offset = len(call.shape()) - len(call.shape(other))
        axes = _broadcast_operands(call, operands, PERMUTATION, ALL)
        for k, count in enumerate(call.shape(other)):
            if count != 1:
                restrict(axes[k + offset], PERMUTATION)
        return axes
    return _broadcast_operands(call, operands, PERMUTATION, PERMUTATION)


@rule("prelu", "_prelu_kernel")
def prelu(call: Call) -> Axes:
    """max(0, x) + w min(0, x), with one w or one for each channel (axis 1)."""
    x, weight = call["self"], call["weight"]
    axes, slopes = call.axes(x), call.axes(weight)
    widest = [k for k, term in enumerate(slopes) if size(term) > 1]
    for k in widest:
        unify(axes[1] if len(slopes) == 1 else axes[k], slopes[k])
        call.use(weight, k, "depthwise")
    for term in axes:
        restrict(term, POSITIVE)
    call.kind("post")
    return axes


@rule("copy")
def copy(call: Call) -> Axes:
    """Copy the values of src into self."""
    return _broadcast_operands(call, tensors(call), ALL, MEAN_FIXING)


@rule(*UNTAGGED)
def pointwise(call: Call) -> Axes:
    """Any other pointwise function: permutations only.

    Operators tagged as pointwise without a rule of their own come here too.
    """
    operands = tensors(call)
    for operand in operands:
        _use_all(call, operand, "other")
    call.kind("post")
    return _broadcast_operands(call, operands, PERMUTATION, PERMUTATION)


def _is_scaled_weight(call: Call, operands: Sequence[fx.Node]) -> bool:
    """Whether a weight is multiplied with one number.

    The product moves as the weight does. It keeps the weight's name, so that its use is noted at
    the node that reads it.
    """
    wide = [operand for operand in operands if any(n != 1 for n in call.shape(operand))]
    if len(wide) != 1 or wide[0] not in call.facts.origin or call.shape(wide[0]) != call.shape():
        return False
    if any(operand in call.facts.origin for operand in operands if operand is not wide[0]):
        return False  # a learned number, which is noted as such
    call.shows(wide[0])
    return True


def tensors(call: Call) -> list[fx.Node]:
    """All tensor arguments, in order."""
    leaves = pytree.tree_leaves((call.node.args, dict(call.node.kwargs)))
    return [value for value in leaves if call.is_tensor(value)]


def broadcast(operands: Sequence[Axes], shared: frozenset[str], single: frozenset[str]) -> Axes:
    """The axes of a broadcast result.

    Args:
        operands: axes of every operand.
        shared: classes of maps for axes that several operands hold.
        single: classes of maps for axes that one operand alone holds.
    """
    result: Axes = []
    for k in range(-max(map(len, operands)), 0):
        held = [axes[k] for axes in operands if len(axes) >= -k and size(axes[k]) != 1]
        for other in held[1:]:
            unify(held[0], other)
        if held:
            restrict(held[0], shared if len(held) > 1 else single)
        result.append(resolve(held[0]) if held else UNIT)
    return result


def _broadcast_operands(
    call: Call, operands: Sequence[fx.Node], shared: frozenset[str], single: frozenset[str]
) -> Axes:
    return broadcast([call.axes(operand) for operand in operands], shared, single)


def _unexpanded(call: Call, operands: Sequence[fx.Node]) -> list[fx.Node]:
    """The operands without expansions, which broadcasting makes in any case.

    So a factor is known to be constant along an axis.
    """
    result = list(operands)
    for k, operand in enumerate(operands):
        if operator_name(operand) not in ("expand", "expand_as"):
            continue
        source = operand.args[0]
        if isinstance(source, fx.Node):
            others = [*result[:k], source, *result[k + 1 :]]
            shapes = [call.shape(x) for x in others]
            whole = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]
            if list(whole) == call.shape():
                result = others
    return result


def _use_all(call: Call, value: fx.Node, role: str) -> None:
    for axis in range(len(call.shape(value))):
        call.use(value, axis, role)
