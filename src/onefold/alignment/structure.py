"""Trace a network on the first batch of the calibration data.

A batch that does not fit is told apart from a network that cannot be traced.
"""

from __future__ import annotations

import torch
from torch import nn

from onefold.batches import Data, batches, device_of, dtype_of, unsharded
from onefold.copying import copied_to_run
from onefold.errors import NothingToAlignError
from onefold.forward import check_dtype, forward
from onefold.symmetry import SymmetrySpec, TracedNetwork, trace
from onefold.symmetry.coverage import all_positions, why_still


def trace_on(model: nn.Module, data: Data) -> TracedNetwork:
    """The network traced on the first batch of `data`; the network stays as it is.

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
    return trace(model, first.args, first.kwargs)


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
