"""Operators that move, join and cut axes without computing anything, and those that create tensors."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

from onefold.symmetry.rules import rule
from onefold.symmetry.rules.call import Axes, Call
from onefold.symmetry.terms import (
    ALL,
    MEAN_FIXING,
    PERMUTATION,
    UNIT,
    Atom,
    Case,
    Prod,
    Sum,
    Term,
    TermError,
    concatenation,
    cut,
    freeze,
    fresh,
    product,
    resolve,
    restrict,
    size,
    split,
    unify,
)


@rule("view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as", "reshape_as", "_reshape_alias")
def view(call: Call) -> Axes:
    """Row-major regrouping of axes: factors are split where the new shape needs it; only a run of axes that does not fit is frozen."""
    target = call.shape()
    factors = [factor for term in call.axes(call.input) for factor in _factors(term)]
    for axis in range(len(target)):
        if (call.node.name, axis) in call.facts.hints:
            factors = _index_cases(factors, target, axis)
    factors = [piece for factor in factors for piece in _factors(resolve(factor)) if size(piece) != 1]
    result = _regroup(factors, target)
    for axis, term in enumerate(result):
        if isinstance(term, Atom) and term.origin is None:
            term.origin = (call.node.name, axis)
    call.shows(call.input)
    return result


def _factors(term: Term) -> list[Term]:
    return list(term.parts) if isinstance(term, Prod) else [term]


def _index_cases(factors: list[Term], target: list[int], axis: int) -> list[Term]:
    """The factors where the one that new axis `axis` begins is cut into segments, with that axis as the index of cases."""
    count, inner, passed = target[axis], math.prod(target[axis + 1 :]), 1
    for k in range(len(factors) - 1, -1, -1):
        factor = resolve(factors[k])
        if passed <= inner and passed * size(factor) == inner * count and size(factor) > count:
            if not isinstance(factor, Atom | Sum):
                break
            segments = cut(factor, [size(factor) // count] * count)
            index = Atom(count, True, "index of stacked parts")
            return [*factors[:k], index, Case(index, tuple(segments)), *factors[k + 1 :]]
        passed *= size(factor)
    return factors


def _regroup(factors: list[Term], target: list[int]) -> Axes:
    """Match factors to the target's axes from the right, in minimal runs of equal products."""
    result: Axes = [UNIT] * len(target)
    left, axis = len(factors) - 1, len(target) - 1
    while axis >= 0:
        if target[axis] == 1:
            axis -= 1
            continue
        run, wanted, have, need = [factors[left]], [axis], size(factors[left]), target[axis]
        left, axis = left - 1, axis - 1
        while have != need:
            if have < need:
                run.insert(0, factors[left])
                have *= size(factors[left])
                left -= 1
            else:
                wanted.insert(0, axis)
                need *= target[axis]
                axis -= 1
        for k, term in zip(wanted, _split_run(run, [target[k] for k in wanted]), strict=True):
            result[k] = term
    return [resolve(term) for term in result]


def _split_run(run: list[Term], sizes: list[int]) -> list[Term]:
    """Distribute the factors of a run over axes of the given sizes; freeze the run where that would tear a factor."""
    if len(sizes) == 1:
        return [product(run)]
    stack, result = list(run), []
    for need in reversed(sizes):
        taken: list[Term] = []
        while need > 1:
            factor = resolve(stack.pop())
            if isinstance(factor, Prod):
                stack.extend(factor.parts)
                continue
            count = size(factor)
            if need % count:
                common = need if count % need == 0 else math.gcd(count, need)
                if common == 1:
                    return _frozen_run(run, sizes)
                rest, factor = split(factor, count // common, common)
                stack.append(rest)
                count = common
            taken.insert(0, factor)
            need //= count
        result.insert(0, product(taken))
    return result


def _frozen_run(run: list[Term], sizes: list[int]) -> list[Term]:
    for factor in run:
        freeze(factor, "reshaped across a factor")
    return [fresh(n, True, "reshaped across a factor") for n in sizes]


@rule("permute")
def permute(call: Call) -> Axes:
    """Axes in another order."""
    axes = call.axes(call.input)
    call.shows(call.input)
    return [axes[d] for d in call["dims"]]


@rule("transpose", "swapaxes", "swapdims", "t", "numpy_T", "mT", "adjoint")
def transpose(call: Call) -> Axes:
    """Two axes change places."""
    axes = call.axes(call.input)
    a, b = (call.first("dim0", "axis0"), call.first("dim1", "axis1")) if call.name in ("transpose", "swapaxes", "swapdims") else (-1, -2)
    call.shows(call.input)
    if call.name == "numpy_T":
        return axes[::-1]
    if len(axes) > 1:
        axes[a], axes[b] = axes[b], axes[a]
    return axes


@rule("movedim", "moveaxis")
def movedim(call: Call) -> Axes:
    """Axes moved to other places."""
    axes = call.axes(call.input)
    order = torch.movedim(torch.empty(*range(2, 2 + len(axes)), device="meta"), call["source"], call["destination"]).shape
    call.shows(call.input)
    return [axes[d - 2] for d in order]


@rule("unsqueeze")
def unsqueeze(call: Call) -> Axes:
    """A new axis of length one."""
    axes = call.axes(call.input)
    axis = call["dim"] % (len(axes) + 1)
    call.shows(call.input)
    return [*axes[:axis], UNIT, *axes[axis:]]


@rule("squeeze")
def squeeze(call: Call) -> Axes:
    """Axes of length one taken away."""
    axes, dim = call.axes(call.input), call.get("dim")
    dims = range(len(axes)) if dim is None else [d % len(axes) for d in ([dim] if isinstance(dim, int) else dim)]
    call.shows(call.input)
    return [term for k, term in enumerate(axes) if not (k in dims and size(term) == 1)]


@rule("expand", "expand_as", "broadcast_to")
def expand(call: Call) -> Axes:
    """Axes of length one repeated: constant along them, so maps that fix the mean leave them as they are."""
    axes, target = call.axes(call.input), call.shape()
    axes = [UNIT] * (len(target) - len(axes)) + axes
    call.shows(call.input)
    return [fresh(n, maps=MEAN_FIXING) if size(term) == 1 else term for term, n in zip(axes, target, strict=True)]


@rule("repeat", "tile")
def repeat(call: Call) -> Axes:
    """Whole axes repeated: (copies x axis)."""
    axes, target = call.axes(call.input), call.shape()
    axes = [UNIT] * (len(target) - len(axes)) + axes
    return [_repeated(term, n // size(term), outer=True) for term, n in zip(axes, target, strict=True)]


@rule("repeat_interleave")
def repeat_interleave(call: Call) -> Axes:
    """Every coordinate repeated in place: (axis x copies)."""
    axes, count, dim = call.axes(call.input), call.get("repeats"), call.get("dim")
    if not isinstance(count, int) or dim is None:
        raise TermError("repeat_interleave with a tensor of counts")
    axes[dim] = _repeated(axes[dim], count, outer=False)
    return axes


def _repeated(term: Term, copies: int, outer: bool) -> Term:
    if copies == 1:
        return term
    extra = Atom(copies, maps=MEAN_FIXING)
    return product((extra, term) if outer else (term, extra))


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
    axes = [resolve(Case(index, tuple(own[k] for own in operands))) for k in range(len(operands[0]))]
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
    if len(sizes) > 1 and all(n == 1 for n in sizes) and isinstance(axes[dim], Atom):
        picked = [call.pick(axes, dim, index) for index in range(len(sizes))]
        return [[*rest[:dim], UNIT, *rest[dim:]] for rest in picked]
    segments = cut(axes[dim], sizes) if size(axes[dim]) > 1 else [UNIT]
    return [[*axes[:dim], _single(segment), *axes[dim + 1 :]] for segment in segments]


@rule("slice", "narrow")
def slice_axis(call: Call) -> Axes:
    """A segment of an axis; with a stride, or with bounds that are only known at run time, the axis stays in place."""
    axes = call.axes(call.input)
    dim = (call.get("dim") or 0) % len(axes)
    length, kept = size(axes[dim]), call.shape()[dim]
    if kept == length and call.get("step", 1) == 1:
        call.shows(call.input)
        return axes
    start = call.get("start")
    start = 0 if start is None else start
    if not isinstance(start, int) or call.get("step", 1) != 1 or length == 1:
        freeze(axes[dim], "slice with a stride")
        axes[dim] = fresh(kept, True, "slice with a stride")
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


@rule("index", "index_select", "gather", "take", "embedding", "roll", "flip", "tril", "triu", "diagonal")
def index(call: Call) -> Any:
    """Indexing: the indexed axes stay in place, the others pass."""
    if call.name == "embedding":
        table = call.axes(call["weight"])
        freeze(table[0], "vocabulary")
        call.use(call["weight"], 1, "table")
        return [*call.axes(call["indices"]), table[1]]
    axes = call.axes(call.input)
    if call.name in ("roll", "flip", "tril", "triu"):
        dims = [-1, -2] if call.name.startswith("tri") else call["dims"] or range(len(axes))
        for dim in dims:
            freeze(axes[dim], f"order along an axis ({call.name})")
        return axes
    if call.name == "index_select":
        dim = call["dim"] % len(axes)
        freeze(axes[dim], "indexing")
        axes[dim] = fresh(call.shape()[dim], True, "indexing")
        return axes
    if call.name == "index":
        return _advanced(call, axes)
    raise TermError(call.name)


def _advanced(call: Call, axes: Axes) -> Axes:
    """x[i, :, j]: the index tensors' axes take the place of the indexed ones."""
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


@rule("glu")
def glu(call: Call) -> Axes:
    """a * sigmoid(b) of the two halves of an axis."""
    axes = call.axes(call.input)
    dim = call["dim"] % len(axes)
    first, second = cut(axes[dim], [size(axes[dim]) // 2] * 2)
    unify(first, second)
    restrict(first, PERMUTATION)
    call.kind("post")
    axes[dim] = resolve(first)
    return axes


@rule("channel_shuffle")
def channel_shuffle(call: Call) -> Axes:
    """(groups x c) to (c x groups) along axis 1."""
    axes, groups = call.axes(call.input), call["groups"]
    outer, inner = split(axes[1], groups, size(axes[1]) // groups)
    axes[1] = product((inner, outer))
    return axes


@rule("zeros", "zeros_like", "new_zeros", "empty", "empty_like", "new_empty")
def zeros(call: Call) -> Axes:
    """Zeros look the same under every map."""
    return [fresh(n, maps=ALL) for n in call.shape()]


@rule("ones", "ones_like", "new_ones", "full", "full_like", "new_full", "scalar_tensor")
def constant(call: Call) -> Axes:
    """One number everywhere: looks the same under every map that fixes the mean."""
    return [fresh(n, maps=MEAN_FIXING) for n in call.shape()]


@rule("arange", "linspace", "eye", "_tensor_constant", "rand", "randn", "rand_like", "randn_like")
def numbered(call: Call) -> Axes:
    """Coordinates that differ: nothing may move."""
    return [fresh(n, True, f"created by {call.name}") for n in call.shape()]
