"""Normalisations: batch, instance, group, layer and RMS norm."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx

from onefold.symmetry.rules.call import Axes, Call, NormSite
from onefold.symmetry.rules.registry import rule
from onefold.symmetry.terms import (
    DIAGONAL,
    FOLDED,
    MEAN_FIXING,
    ODD,
    ORTHOGONAL,
    PERMUTATION,
    Term,
    freeze,
    restrict,
    size,
)
from onefold.symmetry.unification import require_blocks, unify

_TENSORS = ("weight", "bias", "running_mean", "running_var")


@rule("batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training")
def batch_norm(call: Call) -> Any:
    """(x - mean) / sqrt(variance + eps) * weight + bias over axis 1.

    Mean and variance are running statistics if it has them, else those of the batch.
    """
    x, eps = call["input"], float(call["eps"])
    scale, shift, mean, variance = (call[name] for name in _TENSORS)
    axes = call.axes(x)
    of_batch = bool(call.get("training")) or mean is None
    _channelwise(call, axes[1], scale, shift, mean, variance, None if of_batch else eps)
    names = [call.state_name(value) for value in (scale, shift, mean, variance)]
    single = isinstance(call.node.meta["val"], Tensor)
    if single and not of_batch and names[2] is not None and names[3] is not None:
        call.facts.norms.append(NormSite(call.node, x, names[0], names[1], names[2], names[3], eps))
    if of_batch:
        for term in (axes[0], *axes[2:]):  # statistics of the batch
            call.mix(term, [axes[1]])
    call.kind("pre")
    return axes if single else [axes, [], []]


@rule("instance_norm")
def instance_norm(call: Call) -> Axes:
    """Batch norm with the statistics of each example and channel.

    With running statistics if use_input_stats is off.
    """
    axes = call.axes(call["input"])
    of_input = bool(call["use_input_stats"])
    eps = None if of_input else float(call["eps"])
    scale, shift, mean, variance = (call[name] for name in _TENSORS)
    _channelwise(call, axes[1], scale, shift, mean, variance, eps)
    if of_input:
        for term in axes[2:]:
            freeze(term, "space of an instance norm")
            call.mix(term, axes[:2])
    call.kind("pre")
    return axes


def _channelwise(
    call: Call, channels: Term, scale: Any, shift: Any, mean: Any, variance: Any, eps: float | None
) -> None:
    """Restrict and unify the channels of a batch or instance norm.

    The normalised value does not grow with its input, so that a positive scale passes only through
    the affine weight. It must change the variance v to c^2 (v + eps) - eps. A measured variance
    cannot be changed, and one that is no tensor of the state cannot be written.

    Args:
        call: the norm.
        channels: term of its channels.
        scale: its scale, or None.
        shift: its shift, or None.
        mean: its running mean, or None.
        variance: its running variance, or None.
        eps: eps of a norm that uses running statistics; None if it measures its input.
    """
    names = [call.state_name(value) for value in (scale, mean, variance)]
    passes = eps is not None and None not in names and call.normalises(str(names[2]), eps)
    restrict(channels, DIAGONAL if passes else ODD)
    for value, role in ((scale, "scale"), (shift, "shift"), (mean, "mean"), (variance, "variance")):
        if isinstance(value, fx.Node):
            unify(channels, call.axes(value)[0])
            call.use(value, 0, role)


@rule("group_norm", "native_group_norm")
def group_norm(call: Call) -> Any:
    """Statistics over space and blocks of C / groups channels.

    Blocks may be permuted, and channels inside each block.
    """
    groups = call.first("num_groups", "group")
    axes = call.axes(call["input"])
    block = size(axes[1]) // groups
    for outer, inner in require_blocks(axes[1], block, "blocks of a group norm"):
        call.mix(inner, [outer])
    restrict(axes[1], PERMUTATION)
    for term in axes[2:]:
        freeze(term, "space of a group norm")
        call.mix(term, axes[:2])
    for value, role in ((call["weight"], "scale"), (call["bias"], "shift")):
        if isinstance(value, fx.Node):
            unify(axes[1], call.axes(value)[0])
            call.use(value, 0, role)
    call.kind("pre")
    return axes if not isinstance(call.node.meta["val"], tuple | list) else [axes, [], []]


@rule("layer_norm", "native_layer_norm")
def layer_norm(call: Call) -> Any:
    """Mean and variance over the last axes: orthogonal maps that fix the mean commute with it."""
    axes = _last_axes(call, MEAN_FIXING, call["weight"], call["bias"])
    several = isinstance(call.node.meta["val"], tuple | list)
    return [axes, axes[:-1], axes[:-1]] if several else axes


@rule("rms_norm")
def rms_norm(call: Call) -> Axes:
    """RMS norm, x / sqrt(mean(x^2) + eps) * weight over the last axes.

    Every orthogonal map commutes with it.
    """
    return _last_axes(call, ORTHOGONAL, call["weight"], None)


def _last_axes(call: Call, maps: frozenset[str], scale: Any, shift: Any) -> Axes:
    axes = call.axes(call["input"])
    count = len(call["normalized_shape"])
    kept, normed = axes[:-count], axes[-count:]
    for term in normed:
        restrict(term, maps)
        call.mix(term, kept)
    for term in kept:
        restrict(term, PERMUTATION)
    for value, role in ((scale, "scale"), (shift, "shift")):
        if isinstance(value, fx.Node):
            for k, (term, parameter) in enumerate(zip(normed, call.axes(value), strict=True)):
                unify(term, parameter)
                call.use(value, k, role)
                if role == "scale":
                    restrict(term, maps - FOLDED.keys())  # a learned scale acts by coordinate
    if count == 1:
        call.scaled(scale, shift, normed[0])
    call.kind("pre")
    return axes
