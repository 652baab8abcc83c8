"""The pass over the tensors, and the look at a sample of them that tells the likely base."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from onefold.checkpoints.comparison.entries import Entry, Opened
from onefold.checkpoints.comparison.groups import Measured
from onefold.checkpoints.comparison.measures import Sums, measure
from onefold.checkpoints.comparison.thresholds import SIBLINGS
from onefold.checkpoints.comparison.values import FLOATS, Files

CHUNK = 1 << 16  # elements that are decoded at a time; as float64 they stay in the cache
LOOKED_AT = 4096  # elements of a tensor in the sample
AHEAD = 4  # chunks for each thread that wait to be summed

T = TypeVar("T")
R = TypeVar("R")


def measured(opened: Sequence[Opened], threads: int) -> Iterator[Measured]:
    """Measure every tensor, in the order of the files of the origin; those that it lacks last.

    Memory is bounded by the chunks that the threads work on: about 50 bytes for each element of a
    chunk and checkpoint.

    Args:
        opened: the checkpoints, the origin first.
        threads: how many work. The result is the same bits on any number.
    """
    files = Files()
    tasks = list(_tensors(opened))
    for _, _, entries in tasks:
        for entry in entries:
            if entry.tensor is None:
                files.open(entry.file)
    pieces = (
        (number, entries, begin, min(begin + CHUNK, size))
        for number, (_, _, entries) in enumerate(tasks)
        for size in [math.prod(entries[0].shape)]
        for begin in range(0, max(size, 1), CHUNK)
    )
    sums = [Sums.empty(len(entries)) for _, _, entries in tasks]
    done = 0
    for number, found in _in_order(lambda p: (p[0], measure(files, *p[1:])), pieces, threads):
        while done < number:
            yield _finished(*tasks[done], sums[done])
            done += 1
        sums[number].add(found)
    while done < len(tasks):
        yield _finished(*tasks[done], sums[done])
        done += 1


def _finished(name: str, holders: tuple[int, ...], entries: list[Entry], sums: Sums) -> Measured:
    floating = tuple(entry.dtype in FLOATS for entry in entries)
    return Measured(name, len(entries[0].shape), holders, sums, floating)


def _tensors(opened: Sequence[Opened]) -> Iterator[tuple[str, tuple[int, ...], list[Entry]]]:
    """The tensors, and the checkpoints that have each in one shape.

    A tensor whose shape differs is a task of its own in each checkpoint that has another one, so
    that its values are looked at, too.
    """
    names = dict.fromkeys(name for one in opened for name in one.entries)
    for name in names:
        left = {k: one.entries[name] for k, one in enumerate(opened) if name in one.entries}
        while left:
            shape = next(iter(left.values())).shape
            alike = {k: entry for k, entry in left.items() if entry.shape == shape}
            yield name, tuple(alike), list(alike.values())
            left = {k: entry for k, entry in left.items() if k not in alike}


def _in_order(work: Callable[[T], R], given: Iterable[T], threads: int) -> Iterator[R]:
    """The results in the order of what was given; few of them wait at a time."""
    if threads < 2:
        yield from map(work, given)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: list[Future[R]] = []
        try:
            for one in given:
                waiting.append(pool.submit(work, one))
                if len(waiting) > AHEAD * threads:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for left in waiting:
                left.cancel()


def likely_base(opened: Sequence[Opened]) -> tuple[int, bool]:
    """The checkpoint that all others are nearest to, and whether it can be their base.

    It is told from at most LOOKED_AT elements of each tensor that all have in one shape, in its
    middle. It can be their base if the others' task vectors, seen from it, do not share a direction
    as those of siblings do.
    """
    count = len(opened)
    products = np.zeros((count, count))
    files = Files()
    for _, holders, entries in _tensors(opened):
        if len(holders) < count or any(entry.dtype not in FLOATS for entry in entries):
            continue
        for entry in entries:
            if entry.tensor is None:
                files.open(entry.file)
        size = math.prod(entries[0].shape)
        begin = max(0, (size - LOOKED_AT) // 2)
        products += measure(files, entries, begin, min(size, begin + LOOKED_AT)).products
    squares = np.diag(products)
    apart = squares[:, None] + squares[None, :] - 2 * products
    base = int(apart.sum(1).argmin())
    changes = products - products[base][None, :] - products[:, base][:, None] + squares[base]
    lengths = np.sqrt(np.maximum(np.diag(changes), 0))
    cosines = [
        changes[i, j] / (lengths[i] * lengths[j])
        for i in range(count)
        for j in range(i)
        if base not in (i, j) and lengths[i] * lengths[j] > 0
    ]
    return base, bool(cosines) and float(np.mean(cosines)) < SIBLINGS
