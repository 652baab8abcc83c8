"""Batches of a loop's data loader, read a second time beside the loop.

A loop in the middle of an epoch owns its loader: reading it again may reset its workers, and draws
from generators that give the order of the next epoch. So a copy of the loader is read, and the
generators are restored afterwards. A loop with such readings trains to the same bits as without.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader

from onefold.batches import Data, RankShare
from onefold.distributed import rank, ranks, several_ranks
from onefold.generators import generators_kept

SAMPLERS = ("sampler", "batch_sampler")


class Reread:
    """The batches of a loader, from its first one on, as often as wanted.

    Args:
        loader: the loop's own.
        most: how many batches are read; None for all.
    """

    def __init__(self, loader: Iterable[Any], most: int | None = None) -> None:
        # Loaders of accelerate count their readings; the loader inside of them does not.
        self.loader = getattr(loader, "base_dataloader", loader)
        self.most = most

    def __iter__(self) -> Iterator[Any]:
        loader = self.loader
        if isinstance(loader, DataLoader):
            loader = copy.copy(loader)
            loader.__dict__["_iterator"] = None  # persistent workers belong to the loop
        return itertools.islice(iter(loader), self.most)


def of_this_rank(data: Data) -> Data:
    """A loop's batches, which are this process's part of them if there are several processes."""
    return RankShare(data, rank(), ranks(), sharded=True) if several_ranks() else data


@contextmanager
def order_kept(*data: Data | None) -> Iterator[None]:
    """Restore all generators afterwards, those of the loaders among them."""
    parts = [part for each in data for part in _parts(each)]
    generators = [
        part.generator
        for part in parts
        if isinstance(getattr(part, "generator", None), torch.Generator)
    ]
    states = [(generator, generator.get_state()) for generator in generators]
    epochs = [(part, part.epoch) for part in parts if isinstance(getattr(part, "epoch", None), int)]
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=devices), generators_kept():
        try:
            yield
        finally:
            for generator, state in states:
                generator.set_state(state)
            for part, epoch in epochs:
                part.epoch = epoch


def _parts(data: Any) -> list[Any]:
    """A loader and the samplers inside of it."""
    if isinstance(data, RankShare):
        return _parts(data.data)
    if isinstance(data, Reread):
        return _parts(data.loader)
    found: list[Any] = []
    waiting = [data]
    while waiting:
        part = waiting.pop()
        if part is not None and all(part is not other for other in found):
            found.append(part)
            waiting += [part.__dict__.get(name) for name in SAMPLERS if hasattr(part, "__dict__")]
    return found
