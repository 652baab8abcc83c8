"""Whole numbers that a checkpoint holds in another kind of dtype than the network.

A state dict that was cast as a whole, as to float16, has its counters and tables of indices in that
dtype too. They are taken if no number changes by it.
"""

from __future__ import annotations

import torch
from torch import Tensor

COUNTER = "num_batches_tracked"  # of batch norms: how many batches there were


def is_counter(name: str) -> bool:
    """Whether a tensor of this name counts the batches of a batch norm."""
    return name.rpartition(".")[2] == COUNTER


def kind(tensor: Tensor) -> str:
    """The kind of a tensor's dtype: "floating", "complex", "boolean" or "integer"."""
    if tensor.is_floating_point():
        return "floating"
    if tensor.is_complex():
        return "complex"
    return "boolean" if tensor.dtype == torch.bool else "integer"


def converted(given: Tensor, own: Tensor, name: str) -> Tensor | None:
    """`given` in the kind of dtype of `own`.

    Args:
        given: the tensor of a file.
        own: the network's, of the same shape.
        name: their name. A counter that is too large for a dtype of 16 bits stays the network's.

    Returns:
        `given` itself if the kinds are the same. `own` if it becomes `given` in the dtype of
        `given`, as a table of indices that was rounded. None if a number would change.
    """
    if kind(given) == kind(own):
        return given
    if kind(own) not in ("integer", "boolean") or given.is_complex():
        return None
    if given.is_floating_point() and not bool(torch.isfinite(given).all()):
        return own if is_counter(name) else None
    # From here on a floating-point number has no further whole numbers beside it that are lost.
    exact = 2 / torch.finfo(given.dtype).eps if given.is_floating_point() else None
    cast = given.to(own.dtype)
    if torch.equal(cast.to(given.dtype), given) and (
        exact is None or is_counter(name) or not given.numel() or given.abs().max() <= exact
    ):
        return cast
    if not own.is_meta and torch.equal(own.to(given.device).to(given.dtype), given):
        return own
    return None
