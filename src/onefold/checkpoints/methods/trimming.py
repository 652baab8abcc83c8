"""The largest magnitudes of a tensor, exactly.

`ranking.py` finds the magnitude of a rank. Magnitudes of 16-bit checkpoints are compared as rounded
to the checkpoints' dtype. Many are equal then. Of equal magnitudes at the edge those are kept that
make up the exact number: the first ones of the tensor where "earlier" counts as larger, the last
ones where it counts as smaller.

An edge acts on float32 values, as hardshrink does: x stays if |x| > limit. The limit lies between
the values that round to either side, so that nothing is rounded a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onefold.checkpoints.methods.lazily import np, torch
from onefold.checkpoints.methods.products import blocks
from onefold.checkpoints.methods.ranking import (
    Histogram,
    Rank,
    Values,
    position_of,
    ranks_of,
    value_of,
)

if TYPE_CHECKING:
    from torch import Tensor

ALL, NONE = -1.0, float("inf")  # limits that keep everything, and nothing


@dataclass(frozen=True)
class Edge:
    """Which magnitudes of a flat tensor are above a rank.

    Attributes:
        before: the limit of the elements before `position`.
        after: the limit of the other ones.
        position: where equal magnitudes are parted.
    """

    before: float
    after: float
    position: int = 0

    def above(self, values: Tensor, start: int) -> Tensor:
        """The elements above the edge; 0 in place of the other ones. `values` is changed.

        Args:
            values: (n,) a part of the tensor.
            start: index of the part's first element.
        """
        cut = min(max(self.position - start, 0), len(values))
        for part, limit in ((values[:cut], self.before), (values[cut:], self.after)):
            if len(part) and limit != ALL:
                torch.ops.aten.hardshrink.out(part, limit, out=part)
        return values

    def flags(self, magnitudes: Tensor, start: int) -> Any:
        """Which elements are above the edge, (n,) bool.

        Args:
            magnitudes: (n,) a part of the tensor, nowhere negative.
            start: index of the part's first element.
        """
        found = np.empty(len(magnitudes), dtype=bool)
        cut = min(max(self.position - start, 0), len(found))
        np.greater(magnitudes.numpy()[:cut], self.before, out=found[:cut])
        np.greater(magnitudes.numpy()[cut:], self.after, out=found[cut:])
        return found


def edges(
    values: Values, numel: int, below: Sequence[int], dtype: torch.dtype, earlier_is_larger: bool
) -> list[Edge]:
    """The edges that have exactly as many elements of a tensor below them as asked for.

    Args:
        values: (start, stop) -> those elements, float32 or float64.
        numel: number of elements.
        below: for each edge the number of elements below it.
        dtype: in which magnitudes are compared: a 16-bit one, float32, or float64.
        earlier_is_larger: of equal magnitudes, the earlier element counts as the larger one.
    """
    inside = [count for count in below if 0 < count < numel]
    ranks = iter(ranks_of(values, numel, inside, dtype) if inside else ())
    found = []
    for count in below:
        if count <= 0:
            found.append(Edge(ALL, ALL))
        elif count >= numel:
            found.append(Edge(NONE, NONE))
        else:
            found.append(_edge_at(values, next(ranks), dtype, earlier_is_larger))
    return found


def edge_by_zeros(
    values: Values, numel: int, below: Callable[[int], int], dtype: torch.dtype
) -> Edge:
    """The edge with as many elements below it as follows from the number of zeros.

    Args:
        values: (start, stop) -> those elements, float32 or float64.
        numel: number of elements.
        below: the number of zeros in `dtype` -> the number of elements below the edge. Of equal
            magnitudes, the earlier element counts as the larger one.
        dtype: in which magnitudes are compared: a 16-bit one, float32, or float64.
    """
    if dtype.itemsize > 2:
        nonzero = sum(
            int(torch.count_nonzero(values(start, stop).to(dtype))) for start, stop in blocks(numel)
        )
        return edges(values, numel, [below(numel - nonzero)], dtype, True)[0]
    histogram = Histogram(values, numel, dtype)
    count = below(histogram.zeros)
    if not 0 < count < numel:
        return Edge(ALL, ALL) if count <= 0 else Edge(NONE, NONE)
    return _edge_at(values, histogram.at(count), dtype, True)


def _edge_at(values: Values, rank: Rank, dtype: torch.dtype, earlier_is_larger: bool) -> Edge:
    keep, drop = _limits(rank.key, dtype)
    if rank.under == 0:  # no equal element is below
        return Edge(keep, keep)
    if earlier_is_larger:
        return Edge(keep, drop, position_of(values, rank, rank.equal - rank.under, dtype))
    return Edge(drop, keep, position_of(values, rank, rank.under, dtype))


def magnitudes(values: Values, numel: int, ranks: Sequence[int], dtype: torch.dtype) -> list[float]:
    """The magnitudes of ascending ranks, from 0 on."""
    return [value_of(found.key, dtype) for found in ranks_of(values, numel, ranks, dtype)]


def _limits(key: int, dtype: torch.dtype) -> tuple[float, float]:
    """The limit that keeps the elements of a key, and the one that drops them."""
    if dtype.itemsize > 2:
        return value_of(key - 1, dtype) if key else ALL, value_of(key, dtype)

    def lower(key: int) -> float:
        """The limit below the values that round to this key; halves go to the even one."""
        if key == 0:
            return ALL
        middle = (value_of(key - 1, dtype) + value_of(key, dtype)) / 2
        before = np.nextafter(np.float32(middle), np.float32(0))
        return float(before) if key % 2 == 0 else middle

    return lower(key), lower(key + 1)


def kept_share(density: float, numel: int) -> int:
    """The number of elements that a density keeps: at least 1, unless it is 0."""
    return 0 if density <= 0 else max(1, int(density * numel))


__all__: Sequence[str] = [
    "ALL",
    "NONE",
    "Edge",
    "edge_by_zeros",
    "edges",
    "kept_share",
    "magnitudes",
]
