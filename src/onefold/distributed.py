"""Several processes of torch.distributed that must agree: sums and means over all ranks, one rank's
word for all, failures that all share.

No-ops where there is one process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from onefold.errors import DataError

T = TypeVar("T")


def several_ranks() -> bool:
    """Whether this process is one of several."""
    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of a tensor over all ranks, the same on each; the tensor itself where there is one
    process.
    """
    if not several_ranks():
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def from_first_rank(value: T) -> T:
    """What rank 0 has, on every rank."""
    return from_rank(0, value)


def from_rank(number: int, value: T) -> T:
    """What the rank of that number has, on every rank."""
    if not several_ranks():
        return value
    box: list[T] = [value]
    distributed.broadcast_object_list(
        box, src=number, device=torch.device("cpu") if distributed.get_backend() == "gloo" else None
    )
    return box[0]


def ranks() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if several_ranks() else 1


def from_every_rank(value: T) -> list[T]:
    """What each rank has, in their order, on every rank. Small things: all are held at once."""
    if not several_ranks():
        return [value]
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, value)
    return found


def sum_over_ranks(value: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, in rank order, so that it has the same bits on each; the
    tensor itself where there is one process.
    """
    if not several_ranks():
        return value
    parts = from_every_rank(value.detach().cpu())
    return torch.stack(parts).sum(0).to(value.device)


@contextmanager
def raise_together() -> Iterator[None]:
    """Where one rank fails in this block, all of them raise what it did, instead of waiting for it
    at the next meeting point.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    failed = from_every_rank(None if failure is None else f"{failure}")
    if failure is not None:
        raise failure
    if (
        other := next((number for number, text in enumerate(failed) if text is not None), None)
    ) is not None:
        raise DataError(f"Rank {other} failed: {failed[other]}")


def rank() -> int:
    """The number of this process; 0 where there is one."""
    return distributed.get_rank() if several_ranks() else 0
