"""What one pass over the tensors measures: products of task vectors, signs, equal bits, NaN.

Every chunk of a tensor is decoded to float64 and gives numbers, which are summed in the order of
the file. The sums are therefore the same bits on any number of threads. A value that is not finite
is counted, and its place is left out of all sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onefold.checkpoints.comparison.entries import Entry
from onefold.checkpoints.comparison.thresholds import LARGEST
from onefold.checkpoints.comparison.values import FLOATS, Files, Numbers, decoded

Counts = npt.NDArray[np.int64]

SAMPLE = 8192  # elements of a chunk that tell how large its largest changes are


@dataclass
class Sums:
    """The sums over a chunk or a tensor of K checkpoints, the origin first.

    Attributes:
        squares: (K,) sums of squared weights.
        products: (K, K) inner products of the differences from the origin.
        both: (K, K) places where the changes of two are among their largest.
        opposite: (K, K) such places where their signs differ.
        different: (K,) whether any bit differs from the origin's.
        nans: (K,) places that are NaN.
        infinite: (K,) places that are infinite.
    """

    squares: Numbers
    products: Numbers
    both: Counts
    opposite: Counts
    different: npt.NDArray[np.bool_]
    nans: Counts
    infinite: Counts

    @classmethod
    def empty(cls, count: int) -> Sums:
        """Nothing yet, of `count` checkpoints."""
        square = (count, count)
        return cls(
            np.zeros(count),
            np.zeros(square),
            np.zeros(square, np.int64),
            np.zeros(square, np.int64),
            np.zeros(count, np.bool_),
            np.zeros(count, np.int64),
            np.zeros(count, np.int64),
        )

    def add(self, other: Sums) -> None:
        """Add the sums of a further chunk."""
        self.squares += other.squares
        self.products += other.products
        self.both += other.both
        self.opposite += other.opposite
        self.different |= other.different
        self.nans += other.nans
        self.infinite += other.infinite


def measure(files: Files, entries: Sequence[Entry], begin: int, end: int) -> Sums:
    """The sums over the elements `begin` to `end` of one tensor in K checkpoints of one shape.

    Args:
        files: where they are read from.
        entries: the tensor in each checkpoint, the origin first. Of other dtypes than floating ones
            the bits alone are compared.
        begin: the first element.
        end: one past the last element.
    """
    found = Sums.empty(len(entries))
    raws = [files.raw(entry, begin, end) for entry in entries]
    floats = [entry.dtype in FLOATS for entry in entries]
    values: list[Numbers | None] = [None] * len(entries)
    for k, (entry, raw) in enumerate(zip(entries, raws, strict=True)):
        alike = entry.dtype == entries[0].dtype
        same = k == 0 or (alike and np.array_equal(raw, raws[0]))
        if floats[k]:
            values[k] = values[0] if same and k else decoded(raw, entry.dtype)
        if not alike and floats[k] and floats[0]:
            same = np.array_equal(values[k], values[0], equal_nan=True)  # type: ignore[arg-type]
        found.different[k] = not same
    _leave_out(values, found)
    for k, value in enumerate(values):
        if value is not None:
            found.squares[k] = _inner(value, value)
    if values[0] is not None:
        _compare(values, found)
    return found


def _leave_out(values: list[Numbers | None], found: Sums) -> None:
    """Count what is not finite, and set its places to 0 in all."""
    bad: npt.NDArray[np.bool_] | None = None
    for k, value in enumerate(values):
        if value is None or np.isfinite(np.abs(value).max(initial=0.0)):
            continue
        nans, infinite = np.isnan(value), np.isinf(value)
        found.nans[k], found.infinite[k] = nans.sum(), infinite.sum()
        bad = nans | infinite if bad is None else bad | nans | infinite
    if bad is not None:
        for k, value in enumerate(values):
            if value is not None:
                values[k] = np.where(bad, 0.0, value)


def _compare(values: list[Numbers | None], found: Sums) -> None:
    """The products of the differences from the origin, and the signs of their largest."""
    origin = values[0]
    assert origin is not None
    changes: dict[int, Numbers] = {}
    signs: dict[int, tuple[Any, Any]] = {}
    for k, value in enumerate(values[1:], 1):
        if value is not None and found.different[k]:
            changes[k] = value - origin
            signs[k] = _largest(changes[k])
    for i, change in changes.items():
        for j in changes:
            if j < i:
                continue
            product = _inner(change, changes[j])
            found.products[i, j] = found.products[j, i] = product
            if i != j:
                up_i, down_i = signs[i]
                up_j, down_j = signs[j]
                opposite = np.count_nonzero(up_i & down_j) + np.count_nonzero(down_i & up_j)
                alike = np.count_nonzero(up_i & up_j) + np.count_nonzero(down_i & down_j)
                found.opposite[i, j] = found.opposite[j, i] = opposite
                found.both[i, j] = found.both[j, i] = opposite + alike


def _largest(change: Numbers) -> tuple[Any, Any]:
    """Where the largest changes are positive, and where they are negative.

    The size of the least of them is told from evenly spaced elements, at most SAMPLE.
    """
    step = max(1, -(-len(change) // SAMPLE))
    sizes = np.abs(change[::step])
    kept = min(len(sizes), max(1, round(LARGEST * len(sizes))))
    least = np.partition(sizes, len(sizes) - kept)[len(sizes) - kept]
    if least == 0:
        return change > 0, change < 0
    return change >= least, change <= -least


def _inner(one: Numbers, other: Numbers) -> float:
    """The inner product; no BLAS, whose sums depend on the number of threads."""
    return float(np.einsum("i,i->", one, other))
