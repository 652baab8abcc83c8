"""Operators that regroup, reorder and repeat axes without computing anything."""

from __future__ import annotations

import math

import torch

from onefold.symmetry.rules.call import Axes, Call
from onefold.symmetry.rules.registry import rule
from onefold.symmetry.terms import (
    MEAN_FIXING,
    UNIT,
    Atom,
    Case,
    Prod,
    Sum,
    Term,
    TermError,
    freeze,
    fresh,
    product,
    resolve,
    size,
)
from onefold.symmetry.unification import cut, split


@rule(
    "view",
    "reshape",
    "_unsafe_view",
    "flatten",
    "unflatten",
    "view_as",
    "reshape_as",
    "_reshape_alias",
)
def view(call: Call) -> Axes:
    """Row-major regrouping of axes.

    Factors are split at the boundaries of the new shape. Only a run of axes that does not fit is
    frozen.
    """
    target = call.shape()
    factors = [factor for term in call.axes(call.input) for factor in _factors(term)]
    for axis in range(len(target)):
        if (call.node.name, axis) in call.facts.hints:
            factors = _index_cases(factors, target, axis)
    pieces = [piece for factor in factors for piece in _factors(resolve(factor))]
    factors = [piece for piece in pieces if size(piece) != 1]
    result = _regroup(factors, target)
    for axis, term in enumerate(result):
        if isinstance(term, Atom) and term.origin is None:
            term.origin = (call.node.name, axis)
    call.shows(call.input)
    return result


def _factors(term: Term) -> list[Term]:
    return list(term.parts) if isinstance(term, Prod) else [term]


def _index_cases(factors: list[Term], target: list[int], axis: int) -> list[Term]:
    """The factors with one of them cut into segments, and new axis `axis` as the index of cases.

    The factor is the one in which that axis begins.
    """
    count, inner, passed = target[axis], math.prod(target[axis + 1 :]), 1
    for k in range(len(factors) - 1, -1, -1):
        factor, block = resolve(factors[k]), inner * count // passed
        if passed <= inner and inner % passed == 0 and size(factor) % block == 0 and block > count:
            if not isinstance(factor, Atom | Sum):
                break
            # The new axis may have others in front: heads x 3 x d.
            outer, stacked = split(factor, size(factor) // block, block)
            if not isinstance(stacked, Atom | Sum):
                break
            segments = cut(stacked, [block // count] * count)
            index = Atom(count, True, "index of stacked parts")
            return [*factors[:k], outer, index, Case(index, tuple(segments)), *factors[k + 1 :]]
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
    """Distribute the factors of a run over axes of the given sizes.

    The run is frozen if that would tear a factor.
    """
    if len(sizes) == 1:
        return [product(run)]
    stack = list(run)
    result: list[Term] = []
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


@rule("transpose", "swapaxes", "swapdims", "t", "numpy_T", "mT", "mH", "adjoint")
def transpose(call: Call) -> Axes:
    """Two axes change places."""
    axes = call.axes(call.input)
    a, b = -1, -2
    if call.name in ("transpose", "swapaxes", "swapdims"):
        a, b = call.first("dim0", "axis0"), call.first("dim1", "axis1")
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
    numbered = torch.empty(*range(2, 2 + len(axes)), device="meta")  # axis k has length k + 2
    order = torch.movedim(numbered, call["source"], call["destination"]).shape
    call.shows(call.input)
    return [axes[n - 2] for n in order]


@rule("unsqueeze")
def unsqueeze(call: Call) -> Axes:
    """A new axis of length one."""
    axes = call.axes(call.input)
    axis = call["dim"] % (len(axes) + 1)
    call.shows(call.input)
    return [*axes[:axis], UNIT, *axes[axis:]]


@rule("squeeze")
def squeeze(call: Call) -> Axes:
    """Axes of length one removed."""
    axes, dim = call.axes(call.input), call.get("dim")
    named = range(len(axes)) if dim is None else [dim] if isinstance(dim, int) else dim
    dims = [d % len(axes) for d in named]
    call.shows(call.input)
    return [term for k, term in enumerate(axes) if not (k in dims and size(term) == 1)]


@rule("expand", "expand_as", "broadcast_to")
def expand(call: Call) -> Axes:
    """Axes of length one repeated; maps that fix the mean leave what is constant along them."""
    axes, target = call.axes(call.input), call.shape()
    axes = [UNIT] * (len(target) - len(axes)) + axes
    call.shows(call.input)
    return [
        fresh(n, maps=MEAN_FIXING) if size(term) == 1 else term
        for term, n in zip(axes, target, strict=True)
    ]


@rule("repeat", "tile")
def repeat(call: Call) -> Axes:
    """Whole axes repeated: (copies x axis)."""
    axes, target = call.axes(call.input), call.shape()
    axes = [UNIT] * (len(target) - len(axes)) + axes
    pairs = zip(axes, target, strict=True)
    return [_repeated(term, n // size(term), outer=True) for term, n in pairs]


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


@rule("channel_shuffle")
def channel_shuffle(call: Call) -> Axes:
    """(groups x c) to (c x groups) along axis 1."""
    axes, groups = call.axes(call.input), call["groups"]
    outer, inner = split(axes[1], groups, size(axes[1]) // groups)
    axes[1] = product((inner, outer))
    return axes
