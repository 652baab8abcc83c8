"""Several processes of torch.distributed that must agree: means over all ranks, and one rank's word for all. No-ops where there is one."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


def several_ranks() -> bool:
    """Whether this process is one of several."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of a tensor over all ranks, the same on each; the tensor itself where there is one process."""
    if not several_ranks():
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def from_first_rank(value: T) -> T:
    """What rank 0 has, on every rank."""
    if not several_ranks():
        return value
    box: list[T] = [value]
    distributed.broadcast_object_list(box, src=0, device=torch.device("cpu") if distributed.get_backend() == "gloo" else None)
    return box[0]


def rank() -> int:
    """The number of this process; 0 where there is one."""
    return distributed.get_rank() if several_ranks() else 0
