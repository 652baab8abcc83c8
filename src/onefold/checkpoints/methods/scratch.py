"""Buffers that a thread uses again for every block.

A fresh buffer for each step of each block would cost about as much as the step itself, because it
is not in the cache.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from onefold.checkpoints.methods.lazily import torch

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 1 << 18  # elements; float32 buffers of this size stay in a core's cache
LARGEST = 1 << 20  # elements; larger buffers are made anew and not kept


class _Buffers(threading.local):
    """The buffers of one thread by what they hold."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int, torch.dtype], Tensor] = {}


_BUFFERS = _Buffers()


def buffer(use: str, index: int, numel: int, dtype: torch.dtype) -> Tensor:
    """A buffer of this thread, (numel,), with any content.

    Args:
        use: what it is for.
        index: which of several for this use. The same use and index give the same memory.
        numel: number of elements.
        dtype: of the elements.
    """
    key = (use, index, dtype)
    found = _BUFFERS.kept.get(key)
    if found is None or len(found) < numel:
        with torch.inference_mode(False):  # good for callers in and out of that mode
            found = torch.empty(numel, dtype=dtype, device="cpu")
        if numel <= LARGEST:
            _BUFFERS.kept[key] = found
    return found[:numel]
