"""Contractions: linear layers, convolutions, matrix products.

The contracted axes move together, the others pass through.
"""

from __future__ import annotations

from typing import Any

from torch import fx

from onefold.symmetry.rules.call import Axes, Call, LayerSite
from onefold.symmetry.rules.pointwise import broadcast
from onefold.symmetry.rules.registry import rule
from onefold.symmetry.terms import (
    ALL,
    DIAGONAL,
    ORTHOGONAL,
    PERMUTATION,
    POSITIVE,
    UNIT,
    WRITABLE,
    Term,
    freeze,
    fresh,
    product,
    resolve,
    restrict,
    size,
)
from onefold.symmetry.unification import split, unify

# Maps of coordinates that an operator treats one by one: they may be permuted, but no dense map can
# be written into the weights there.
SEPARATE = frozenset({"permutation"})


@rule("linear")
def linear(call: Call) -> Axes:
    """The layer y = x W' + b over the last axis; W is (out, in)."""
    x, weight, bias = call["input"], call["weight"], call["bias"]
    axes, (out, into) = call.axes(x), call.axes(weight)
    unify(axes[-1], into)
    call.mix(axes[-1], [*axes[:-1], out])
    call.use(weight, 0, "producer")
    call.use(weight, 1, "consumer")
    _bias(call, bias, out)
    read_features(call, x, weight, axes[-1])
    call.between(axes[-1], out)
    _layer(call, "linear", x, weight, bias, weight_axis=0, output_axis=len(axes) - 1)
    return [*axes[:-1], out]


@rule("conv1d", "conv2d", "conv3d")
def convolution(call: Call) -> Axes:
    """Convolution over the last axes; the weight is (out, in / groups, kernel...)."""
    return _convolve(call, transposed=False)


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def transposed_convolution(call: Call) -> Axes:
    """Transposed convolution over the last axes; the weight is (in, out / groups, kernel...)."""
    return _convolve(call, transposed=True)


@rule("convolution")
def general_convolution(call: Call) -> Axes:
    """The one convolution of the decomposed operator set."""
    return _convolve(call, transposed=bool(call["transposed"]))


def _convolve(call: Call, transposed: bool) -> Axes:
    """The axes of a convolution, grouped or not, transposed or not."""
    x, weight, bias = call["input"], call["weight"], call["bias"]
    groups = call["groups"] if isinstance(call["groups"], int) else 1
    axes, kernel = call.axes(x), call.axes(weight)
    channel = len(axes) - (len(kernel) - 1)  # 1, or 0 without a batch axis
    for term in (*axes[channel + 1 :], *kernel[2:]):
        freeze(term, "space of a convolution")
    for term in axes[channel + 1 :]:
        call.mix(term, [*axes[: channel + 1], *kernel[:2]])
    weight_axis = 1 if transposed else 0
    if groups == 1:
        out = kernel[weight_axis]
        unify(axes[channel], kernel[1 - weight_axis])
        call.mix(axes[channel], [*axes[:channel], out])
        call.use(weight, weight_axis, "producer")
        call.use(weight, 1 - weight_axis, "consumer")
    elif transposed:
        out = _grouped_transposed(call, axes[channel], kernel, groups)
    else:
        out = _grouped(call, axes[channel], kernel, groups)
    _bias(call, bias, out)
    read_features(call, x, weight, axes[channel])
    call.between(axes[channel], out)
    kind = "conv_transpose" if transposed else "conv"
    _layer(call, kind, x, weight, bias, weight_axis, channel, groups)
    space = [fresh(n, True, "space of a convolution") for n in call.shape()[channel + 1 :]]
    return [*axes[:channel], resolve(out), *space]


def _grouped(call: Call, channels: Term, kernel: Axes, groups: int) -> Term:
    """Input g x c, output g x o, weight (g x o, c).

    Whole groups may be permuted; inside each group c and o may move.
    """
    weight, (out, into) = call["weight"], kernel[:2]
    if size(into) == 1:
        return _depthwise(call, weight, 0, channels, out, size(out) // groups)
    group, inner = split(channels, groups, size(into))
    unify(inner, into)
    out_group, outer = split(out, groups, size(out) // groups)
    unify(group, out_group)
    restrict(group, SEPARATE)
    call.mix(inner, [outer])
    call.use(weight, 0, "producer")
    call.use(weight, 1, "consumer")
    return out


def _depthwise(
    call: Call, weight: fx.Node, axis: int, channels: Term, out: Term, multiplier: int
) -> Term:
    """One input channel for each group: the output's action follows the input channel's."""
    if multiplier == 1:
        unify(out, channels)
        restrict(channels, DIAGONAL - {WRITABLE})
    else:
        first, extra = split(out, size(channels), multiplier)
        unify(first, channels)
        restrict(first, SEPARATE)
        restrict(extra, SEPARATE)
    call.use(weight, axis, "depthwise")
    return out


def _grouped_transposed(call: Call, channels: Term, kernel: Axes, groups: int) -> Term:
    """The weight is (g x c, o): the output g x o has the same o in every group."""
    weight, (into, out) = call["weight"], kernel[:2]
    unify(channels, into)
    if size(out) == 1:
        if size(into) == groups:
            call.use(weight, 0, "depthwise")
            restrict(channels, DIAGONAL - {WRITABLE})
            return channels
        group, inner = split(channels, groups, size(channels) // groups)
        restrict(group, SEPARATE)
        restrict(inner, SEPARATE)
        call.use(weight, 0, "depthwise")
        call.mix(inner, [group])
        return group
    group, inner = split(channels, groups, size(channels) // groups)
    restrict(group, SEPARATE)
    restrict(out, SEPARATE)  # all groups share its map, the bias does not
    call.mix(inner, [group, out])
    call.use(weight, 0, "consumer")
    call.use(weight, 1, "producer")
    return product((group, out))


@rule("matmul", "mm", "bmm", "dot", "vdot", "mv")
def matmul(call: Call) -> Axes:
    """Matrix product over the last two axes, broadcast over the others."""
    x, y = call["self"], call.first("other", "mat2", "tensor", "vec")
    return _product(call, x, y)


@rule("addmm", "baddbmm")
def addmm(call: Call) -> Axes:
    """The sum input + A B, times numbers that change nothing here."""
    added = call["self"]
    out = _product(call, call.first("mat1", "batch1"), call.first("mat2", "batch2"))
    both = broadcast([out, call.axes(added)], ALL, PERMUTATION)
    call.use(added, -1, "bias")
    return both


def _product(call: Call, x: fx.Node, y: fx.Node) -> Axes:
    left, right = call.axes(x), call.axes(y)
    rows = left if len(left) > 1 else [UNIT, *left]
    columns = right if len(right) > 1 else [*right, UNIT]
    unify(rows[-1], columns[-2])
    batch = broadcast([rows[:-2], columns[:-2]], PERMUTATION, ALL)
    call.mix(rows[-1], [*batch, rows[-2], columns[-1]])
    if len(left) > 1:
        call.use(x, -2, "producer")
    if len(right) > 1:
        call.use(y, -1, "producer")
    contract(call, x, -1, y, -2 if len(right) > 1 else -1)
    call.kind("pre")
    row_axis = [rows[-2]] if len(left) > 1 else []
    column_axis = [columns[-1]] if len(right) > 1 else []
    return [*batch, *row_axis, *column_axis]


@rule("bilinear")
def bilinear(call: Call) -> Axes:
    """x1 W x2 + b over the last axes; W is (out, in1, in2)."""
    weight, operands = call["weight"], (call["input1"], call["input2"])
    out = call.axes(weight)[0]
    kept = broadcast([call.axes(x)[:-1] for x in operands], PERMUTATION, PERMUTATION)
    for axis, x in enumerate(operands, start=1):
        unify(call.axes(x)[-1], call.axes(weight)[axis])
        call.mix(call.axes(x)[-1], [*kept, out])
        call.use(weight, axis, "consumer")
        read_features(call, x, weight, call.axes(x)[-1])
    call.use(weight, 0, "producer")
    _bias(call, call["bias"], out)
    call.kind("pre")
    return [*kept, resolve(out)]


def contract(call: Call, x: fx.Node, x_axis: int, y: fx.Node, y_axis: int) -> None:
    """Note that two axes, equal already, are multiplied and summed.

    A weight takes the inverse map there.
    """
    call.use(x, x_axis, "consumer")
    call.use(y, y_axis, "consumer")
    known = (x in call.facts.origin) + (y in call.facts.origin)
    if known == 0:
        _between_features(call, x, y, call.axes(x)[x_axis])
    elif known == 2:
        _without_dual(call.axes(x)[x_axis])


def read_features(call: Call, x: fx.Node, weight: fx.Node, contracted: Term) -> None:
    """Note that a layer reads features, even if they come from the state dict.

    The layer's weight may be computed too.
    """
    if x in call.facts.origin:
        for axis in range(len(call.shape(x))):
            call.use(x, axis, "table")
        _without_dual(contracted)
    elif weight not in call.facts.origin:
        _between_features(call, x, weight, contracted)


def _between_features(call: Call, x: fx.Node, y: fx.Node, contracted: Term) -> None:
    """Note that no weight takes the inverse map here; one of the features must (see `duals`)."""
    restrict(contracted, ALL - {WRITABLE})
    call.facts.duals.append((call.node, x, y, contracted))


def _without_dual(contracted: Term) -> None:
    """Restrict an axis on which a weight, and no feature, is contracted with another weight.

    A weight takes the inverse map on the axis that it consumes. If two weights are contracted,
    neither does: only a map that is its own inverse transpose passes, and no dense map can be
    written there.
    """
    restrict(contracted, ORTHOGONAL - {WRITABLE})


def _bias(call: Call, bias: Any, out: Term) -> None:
    if bias is not None:
        unify(out, call.axes(bias)[0])
        call.use(bias, 0, "bias")


def _layer(
    call: Call,
    kind: str,
    x: fx.Node,
    weight: Any,
    bias: Any,
    weight_axis: int,
    output_axis: int,
    groups: int = 1,
) -> None:
    call.kind("pre")
    name = call.state_name(weight)
    if call.node.meta["val"].is_complex():  # no moments of such features are measured
        return
    bias_name = call.state_name(bias)
    if name is not None and (bias is None or bias_name is not None):
        site = LayerSite(call.node, kind, name, bias_name, weight_axis, x, output_axis, groups)
        call.facts.layers.append(site)


@rule("embedding")
def embedding(call: Call) -> Axes:
    """Rows of a table: a product with one-hot vectors, whose axis stays in place."""
    rows, columns = call.axes(call["weight"])
    freeze(rows, "vocabulary")
    call.use(call["weight"], 1, "table")
    call.between(None, columns)
    return [*call.axes(call["indices"]), columns]


@rule("embedding_bag", "_embedding_bag", "_embedding_bag_forward_only")
def embedding_bag(call: Call) -> list[Axes]:
    """Sums, means or maxima of rows of a table, for each bag.

    Three tensors of counts and places follow.
    """
    rows, columns = call.axes(call["weight"])
    freeze(rows, "vocabulary")
    call.use(call["weight"], 1, "table")
    if call.get("mode") == 2:  # the largest of every column
        restrict(columns, POSITIVE)
    call.between(None, columns)
    call.kind("pre")
    bags, *others = call.shapes()
    return [
        [fresh(bags[0], True, "bags"), columns],
        *([fresh(n, True, "places in bags") for n in shape] for shape in others),
    ]
