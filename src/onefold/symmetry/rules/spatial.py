"""Operators over space: pooling, resizing, padding. They act channel by channel."""

from __future__ import annotations

import math
from typing import Any

import torch

from onefold.symmetry.rules.call import Axes, Call
from onefold.symmetry.rules.registry import rule
from onefold.symmetry.terms import (
    ALL,
    MEAN_FIXING,
    POSITIVE,
    UNIT,
    Atom,
    Prod,
    Sum,
    freeze,
    fresh,
    resolve,
    restrict,
    size,
)
from onefold.symmetry.unification import split

LINEAR = [
    *("avg_pool1d", "avg_pool2d", "avg_pool3d"),
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
    *("_adaptive_avg_pool1d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d"),
    *("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d"),
    *("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d"),
    *("_upsample_nearest_exact1d", "_upsample_nearest_exact2d"),
    *("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"),
]
MAXIMUM = [f"{kind}{n}d" for kind in ("max_pool", "adaptive_max_pool") for n in (1, 2, 3)]
MAXIMUM += ["max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices"]


@rule(*LINEAR)
def linear_pool(call: Call) -> Any:
    """Weighted sums over space, the same for every channel."""
    return _over_space(call, call.axes(call.input))


@rule(*MAXIMUM)
def max_pool(call: Call) -> Any:
    """The largest value over space: commutes with positive scales."""
    axes = call.axes(call.input)
    for term in axes:
        restrict(term, POSITIVE)
    return _over_space(call, axes)


def _over_space(call: Call, axes: Axes) -> Any:
    """The axes behind an operator over space; the name tells how many axes of space there are."""
    count = int(next((c for c in reversed(call.name) if c.isdigit()), "2"))
    kept, space = axes[:-count], axes[-count:]
    for term in space:
        freeze(term, "space of a pool")
        call.mix(term, kept)
    value = call.node.meta["val"]
    if isinstance(value, torch.Tensor):
        return [*kept, *(fresh(n, True, "space of a pool") for n in call.shape()[-count:])]
    return [
        [*kept, *(fresh(n, True, "space of a pool") for n in shape[-count:])]
        for shape in call.shapes()
    ]


@rule("im2col")
def im2col(call: Call) -> Axes:
    """Patches of an image as columns: (c, h, w) to (c x kernel, positions)."""
    axes = call.axes(call.input)
    patch = math.prod(call["kernel_size"])
    for term in axes[-2:]:
        freeze(term, "space of a convolution")
    channels = axes[-3]
    if patch > 1:
        channels = resolve(Prod((channels, Atom(patch, True, "space of a convolution"))))
    positions = fresh(call.shape()[-1], True, "space of a convolution")
    return [*axes[:-3], channels, positions]


@rule("col2im")
def col2im(call: Call) -> Axes:
    """Columns summed back into an image: (c x kernel, positions) to (c, h, w)."""
    axes = call.axes(call.input)
    channels, inner = split(axes[-2], call.shape()[-3], math.prod(call["kernel_size"]))
    for term in (inner, axes[-1]):
        freeze(term, "space of a convolution")
    call.mix(inner, [channels])
    space = [fresh(n, True, "space of a convolution") for n in call.shape()[-2:]]
    return [*axes[:-2], channels, *space]


@rule("unfold")
def unfold(call: Call) -> Axes:
    """Windows along one axis, on a new last axis."""
    axes = call.axes(call.input)
    dim = call["dimension"] % len(axes)
    freeze(axes[dim], "windows along an axis")
    axes[dim] = fresh(call.shape()[dim], True, "windows along an axis")
    return [*axes, fresh(call.shape()[-1], True, "windows along an axis")]


@rule("pad", "constant_pad_nd")
def pad(call: Call) -> Axes:
    """Zeros move as anything; other constants move under maps that fix the mean.

    Reflection and similar modes keep the axis in place.
    """
    axes, widths = call.axes(call.input), call["pad"]
    constant = call.get("mode", "constant") == "constant"
    maps = ALL if constant and not call.get("value") else MEAN_FIXING
    for k in range(len(widths) // 2):
        axis, before, after = len(axes) - 1 - k, widths[2 * k], widths[2 * k + 1]
        if not before and not after:
            continue
        term = axes[axis]
        if constant and before >= 0 and after >= 0 and size(term) > 1:
            parts = (Atom(before, maps=maps), term, Atom(after, maps=maps))
            axes[axis] = resolve(Sum(tuple(p for p in parts if size(p))))
        else:
            freeze(term, "padded axis")
            axes[axis] = fresh(call.shape()[axis], True, "padded axis")
    return axes


@rule(
    "reflection_pad1d",
    "reflection_pad2d",
    "reflection_pad3d",
    "replication_pad1d",
    "replication_pad2d",
    "replication_pad3d",
)
def border_pad(call: Call) -> Any:
    """Borders that repeat the image."""
    return _over_space(call, call.axes(call.input))


@rule("pixel_shuffle")
def pixel_shuffle(call: Call) -> Axes:
    """(c r r, h, w) to (c, h r, w r)."""
    axes, factor = call.axes(call.input), call["upscale_factor"]
    channels, inner = split(axes[-3], size(axes[-3]) // factor**2, factor**2)
    for term in (inner, *axes[-2:]):
        freeze(term, "space of a pixel shuffle")
    space = [fresh(n, True, "space of a pixel shuffle") for n in call.shape()[-2:]]
    return [*axes[:-3], channels, *space]


@rule("pixel_unshuffle")
def pixel_unshuffle(call: Call) -> Axes:
    """(c, h r, w r) to (c r r, h, w)."""
    axes, factor = call.axes(call.input), call["downscale_factor"]
    for term in axes[-2:]:
        freeze(term, "space of a pixel shuffle")
    inner = Atom(factor**2, True, "space of a pixel shuffle") if factor > 1 else UNIT
    space = [fresh(n, True, "space of a pixel shuffle") for n in call.shape()[-2:]]
    return [*axes[:-3], resolve(Prod((axes[-3], inner))), *space]
