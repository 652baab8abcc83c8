"""Operators that join and cut axes: concatenation, stacking, segments, slices, indexing."""

from __future__ import annotations

from torch import fx

from onefold.symmetry.rules.call import Axes, Call
from onefold.symmetry.rules.registry import rule
from onefold.symmetry.terms import (
    PERMUTATION,
    UNIT,
    Atom,
    Case,
    Term,
    concatenation,
    freeze,
    fresh,
    resolve,
    restrict,
    size,
)
from onefold.symmetry.unification import cut, unify


@rule("cat", "concat", "concatenate")
def cat(call: Call) -> Axes:
    """Axes joined end to end; the others move together."""
    operands = [call.axes(x) for x in call["tensors"] if call.shape(x) != [0]]
    dim = (call.get("dim") or 0) % len(operands[0])
    result = []
    for axis, first in enumerate(operands[0]):
        if axis == dim:
            result.append(concatenation([axes[axis] for axes in operands]))
            continue
        for axes in operands[1:]:
            unify(first, axes[axis])
        result.append(resolve(first))
    return result


@rule("stack")
def stack(call: Call) -> Axes:
    """Tensors side by side on a new axis, whose index tells them apart."""
    operands = [call.axes(x) for x in call["tensors"]]
    dim = (call.get("dim") or 0) % (len(operands[0]) + 1)
    if len(operands) == 1:
        return [*operands[0][:dim], UNIT, *operands[0][dim:]]
    index = Atom(len(operands), True, "index of stacked parts")
    by_axis = zip(*operands, strict=True)
    axes = [resolve(Case(index, parts)) for parts in by_axis]
    return [*axes[:dim], index, *axes[dim:]]


@rule("select")
def select(call: Call) -> Axes:
    """One index of an axis."""
    axes, index = call.axes(call.input), call["index"]
    dim = call["dim"] % len(axes)
    if not isinstance(index, int):
        freeze(axes[dim], "selected by index")
        return [term for k, term in enumerate(axes) if k != dim]
    return call.pick(axes, dim, index % size(axes[dim]))


@rule("unbind")
def unbind(call: Call) -> list[Axes]:
    """All indices of an axis, one by one."""
    axes = call.axes(call.input)
    dim = (call.get("dim") or 0) % len(axes)
    return [call.pick(axes, dim, index) for index in range(size(axes[dim]))]


@rule("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk")
def sections(call: Call) -> list[Axes]:
    """Consecutive segments of an axis."""
    axes = call.axes(call.input)
    dim = (call.get("dim") or 0) % len(axes)
    sizes = [shape[dim] for shape in call.shapes()]
    if len(call.node.all_input_nodes) > 1:
        freeze(axes[dim], "split at a length of the input")
    if len(sizes) > 1 and all(n == 1 for n in sizes) and isinstance(axes[dim], Atom):
        picked = [call.pick(axes, dim, index) for index in range(len(sizes))]
        return [[*rest[:dim], UNIT, *rest[dim:]] for rest in picked]
    segments = cut(axes[dim], sizes) if size(axes[dim]) > 1 else [UNIT]
    return [[*axes[:dim], _single(segment), *axes[dim + 1 :]] for segment in segments]


@rule("slice", "narrow")
def slice_axis(call: Call) -> Axes:
    """A segment of an axis.

    The axis stays in place if it is sliced with a stride, or with bounds that are only known at run
    time.
    """
    axes = call.axes(call.input)
    dim = (call.get("dim") or 0) % len(axes)
    length, kept = size(axes[dim]), call.shape()[dim]
    start, step = call.get("start") or 0, call.get("step", 1)
    if len(call.node.all_input_nodes) > 1:
        freeze(axes[dim], "sliced at a length of the input")
    if kept == length and step == 1:
        call.shows(call.input)
        return axes
    if not isinstance(start, int) or step != 1 or length == 1:
        freeze(axes[dim], "slice with a stride")
        axes[dim] = fresh(kept, True, "slice with a stride")
        return axes
    if kept == 0:
        axes[dim] = Atom(0)
        return axes
    start = min(max(start + length if start < 0 else start, 0), length)
    if kept == 1 and isinstance(axes[dim], Atom):
        rest = call.pick(axes, dim, start)
        return [*rest[:dim], UNIT, *rest[dim:]]
    sizes = [n for n in (start, kept, length - start - kept) if n]
    segments = cut(axes[dim], sizes)
    axes = call.axes(call.input)
    axes[dim] = _single(segments[1 if start else 0])
    return axes


def _single(term: Term) -> Term:
    return UNIT if size(term) == 1 else term


@rule("glu")
def glu(call: Call) -> Axes:
    """The product a * sigmoid(b) of the two halves of an axis."""
    axes = call.axes(call.input)
    dim = call["dim"] % len(axes)
    first, second = cut(axes[dim], [size(axes[dim]) // 2] * 2)
    unify(first, second)
    restrict(first, PERMUTATION)
    call.kind("post")
    axes[dim] = resolve(first)
    return axes


@rule("roll", "flip", "tril", "triu")
def ordered_axes(call: Call) -> Axes:
    """Operators for which the order along some axes matters; these stay in place."""
    axes = call.axes(call.input)
    dims = [-1, -2] if call.name in ("tril", "triu") else call["dims"] or range(len(axes))
    for dim in dims:
        freeze(axes[dim], f"order along an axis ({call.name})")
        call.mix(axes[dim], [term for k, term in enumerate(axes) if k != dim % len(axes)])
    return axes


@rule("index_select")
def index_select(call: Call) -> Axes:
    """Rows picked by an index tensor: that axis stays in place."""
    axes = call.axes(call.input)
    dim = call["dim"] % len(axes)
    freeze(axes[dim], "indexing")
    axes[dim] = fresh(call.shape()[dim], True, "indexing")
    return axes


@rule("gather")
def gather(call: Call) -> Axes:
    """Coordinates picked along one axis, which stays in place.

    The other axes are those of the index tensor.
    """
    axes, picked = call.axes(call.input), call.axes(call["index"])
    dim = call["dim"] % max(len(axes), 1)
    for k, (term, index_term) in enumerate(zip(axes, picked, strict=True)):
        restrict(index_term, PERMUTATION)
        if k == dim:
            freeze(term, "indexing")
        elif size(term) == size(index_term):
            unify(term, index_term)
        else:
            freeze(term, "indexing")
            freeze(index_term, "indexing")
    return [resolve(term) for term in picked]


@rule("index")
def index(call: Call) -> Axes:
    """x[i, :, j]: the axes of the index tensors replace the indexed ones, which stay in place."""
    axes = call.axes(call.input)
    positions = [k for k, value in enumerate(call["indices"]) if isinstance(value, fx.Node)]
    for k in positions:
        freeze(axes[k], "indexing")
        for term in call.axes(call["indices"][k]):
            freeze(term, "indexing")
    kept = [term for k, term in enumerate(axes) if k not in positions]
    adjacent = positions == list(range(positions[0], positions[-1] + 1))
    at = positions[0] if adjacent else 0
    shape = call.shape()
    count = len(shape) - len(kept)
    return [*kept[:at], *(fresh(n, True, "indexing") for n in shape[at : at + count]), *kept[at:]]
