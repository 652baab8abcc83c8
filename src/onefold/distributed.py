"""Processes of torch.distributed that must agree: sums, means, broadcasts and shared failures.

No-ops if there is one process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from onefold.errors import DataError, RanksError

T = TypeVar("T")


def several_ranks() -> bool:
    """Whether this process is one of several."""
    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of a tensor over all ranks, the same on each.

    It is the tensor itself if there is one process.
    """
    if not several_ranks():
        return value
    total = value.detach().clone()
    with _reachable():
        distributed.all_reduce(total)
    return total / distributed.get_world_size()


def from_first_rank(value: T) -> T:
    """The value of rank 0, on every rank."""
    return from_rank(0, value)


def from_rank(number: int, value: T) -> T:
    """The value of the rank of that number, on every rank."""
    if not several_ranks():
        return value
    values: list[T] = [value]
    device = torch.device("cpu") if distributed.get_backend() == "gloo" else None
    with _reachable():
        distributed.broadcast_object_list(values, src=number, device=device)
    return values[0]


@contextmanager
def _reachable() -> Iterator[None]:
    """Name the loss of another process, which transports report in words of their own."""
    try:
        yield
    except RuntimeError as error:
        # Transports begin with a place in their own source and end with guesses.
        told = re.sub(r"^\[[^\]]*\]\s*", "", str(error).strip() or type(error).__name__)
        reason = re.split(r"\n|\. ", told)[0][:160].rstrip(".")
        raise RanksError(
            f"Rank {distributed.get_rank()} cannot reach the other processes ({reason}); one of"
            " them has ended, and its own output says why."
        ) from error


def check_agreement(facts: Mapping[str, Any]) -> None:
    """Refuse, on every rank, to go on if ranks were given different things.

    Args:
        facts: what must be equal on all ranks -> a small value that tells it, such as a digest.

    Raises:
        RanksError: a fact differs between two ranks; the first that does is named.
    """
    of_ranks = from_every_rank(dict(facts))
    for number, others in enumerate(of_ranks[1:], start=1):
        for name in {**of_ranks[0], **others}:
            if of_ranks[0].get(name) != others.get(name):
                raise RanksError(
                    f"Rank {number} was given other {name} than rank 0; give all processes the same"
                    " members, in one order, with the same settings and data."
                )


def ranks() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if several_ranks() else 1


def from_every_rank(value: T) -> list[T]:
    """The values of all ranks, in their order, on every rank.

    For small values: all are held at once.
    """
    if not several_ranks():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    with _reachable():
        distributed.all_gather_object(values, value)
    return values


def sum_over_ranks(value: Tensor) -> Tensor:
    """The sum of a tensor over all ranks; the tensor itself if there is one process.

    The sum is made in rank order, so that it has the same bits on each.
    """
    if not several_ranks():
        return value
    parts = from_every_rank(value.detach().cpu())
    return torch.stack(parts).sum(0).to(value.device)


@contextmanager
def raise_together() -> Iterator[None]:
    """If one rank fails in this block, raise its error on all of them.

    Otherwise the others would wait for it at the next collective call.

    Raises:
        DataError: another rank failed. The rank that failed raises its own error.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    messages = from_every_rank(None if failure is None else f"{failure}")
    if failure is not None:
        raise failure
    for number, message in enumerate(messages):
        if message is not None:
            raise DataError(f"Rank {number} failed: {message}")


def rank() -> int:
    """The number of this process; 0 if there is one."""
    return distributed.get_rank() if several_ranks() else 0
