"""Trace a network on the first batch of the calibration data.

A batch that does not fit is told apart from a network that cannot be traced.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from onefold.batches import Data, batches, device_of, dtype_of, unsharded
from onefold.copying import copied_to_run
from onefold.errors import NothingToAlignError
from onefold.forward import check_dtype, forward
from onefold.symmetry import SymmetrySpec, TracedNetwork, trace
from onefold.symmetry.coverage import all_positions, why_still


def trace_on(model: nn.Module, data: Data, axes: Collection[tuple[int, int]] = ()) -> TracedNetwork:
    """The network traced on the first batch of `data`; the network stays as it is.

    Args:
        model: the network.
        data: batches.
        axes: (number of the input, axis) of axes beside the first that have other lengths in other
            batches (`unequal_axes`).

    Raises:
        DataError: there is no batch, its dtype is not the network's, or the network cannot run on
            it at all.
        TraceError: the network runs, but torch.export cannot trace it.
    """
    first = next(batches(unsharded(data), device_of(model), "calibration data"))
    check_dtype(first, dtype_of(model))
    if not any(x.is_floating_point() or x.is_complex() for x in first.tensors):
        # torch.export takes whole numbers where a network does not.
        with torch.no_grad():
            forward(copied_to_run(model), first)
    return trace(model, first.args, first.kwargs, axes)


def unequal_axes(data: Data) -> tuple[tuple[int, int], ...]:
    """The axes of inputs, beside the first, whose lengths differ between batches.

    Returns:
        (number of the input, axis) of each, with inputs counted as the network takes them: those by
        position, then those by keyword.
    """
    first: list[Any] = []
    found: set[tuple[int, int]] = set()
    for batch in batches(unsharded(data), what="calibration data"):
        inputs = pytree.tree_leaves((batch.args, batch.kwargs), is_leaf=lambda x: x is None)
        first = first or inputs
        for number, (own, other) in enumerate(zip(inputs, first, strict=False)):
            if isinstance(own, Tensor) and isinstance(other, Tensor) and own.dim() == other.dim():
                found |= {
                    (number, axis)
                    for axis in range(1, own.dim())
                    if own.shape[axis] != other.shape[axis]
                }
    return tuple(sorted(found))


def check_movable(spec: SymmetrySpec, name: str) -> None:
    """Refuse a network in which nothing may move.

    Args:
        spec: the symmetries of the network.
        name: its name, for the message.

    Raises:
        NothingToAlignError: as said; the message names the obstacle.
    """
    if not spec.groups:
        raise nothing_to_align(name, why_still(spec), fixed=all_positions(spec))


def nothing_to_align(name: str, why: str, *, fixed: bool = False) -> NothingToAlignError:
    """The error that tells why no parameter can be moved, and what to do."""
    error = NothingToAlignError(
        f"Nothing in {name} can be aligned: {why}; to average the networks as they are, use"
        ' align="none" (--align none).'
    )
    error.fixed = fixed
    return error
