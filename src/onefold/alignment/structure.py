"""Trace a network on the first batch of the calibration data, and tell a batch that does not fit from a network that cannot be traced."""

from __future__ import annotations

import copy

import torch
from torch import nn

from onefold.batches import Data, batches, check_dtype, device_of, dtype_of, forward, whole
from onefold.errors import TraceError
from onefold.symmetry import TracedNetwork, trace


def trace_on(model: nn.Module, data: Data) -> TracedNetwork:
    """The network traced on the first batch of `data`; the network stays as it is.

    Raises:
        DataError: there is no batch, its dtype is not the network's, or the network cannot run on it at all.
        TraceError: the network runs, but torch.export cannot trace it.
    """
    first = next(batches(whole(data), device_of(model), "calibration data"))
    check_dtype(first, dtype_of(model))
    try:
        return trace(model, first.args, first.kwargs)
    except TraceError:
        with torch.no_grad():
            forward(copy.deepcopy(model).eval(), first)  # raises DataError where the batch is to blame
        raise
