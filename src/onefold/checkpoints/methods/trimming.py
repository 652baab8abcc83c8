"""The largest magnitudes of a tensor, exactly and without sorting it.

The bits of a non-negative float, read as a whole number, are in the order of the floats. Histograms
over 16 bits at a time therefore find the element of any rank: one pass for bfloat16 and float16,
two for float32, four for float64. No pass needs more memory than its histogram.

Magnitudes of 16-bit checkpoints are compared as rounded to the checkpoints' dtype. Many are equal
then. Of equal magnitudes at the edge those are kept that make up the exact number: the first ones
of the tensor where "earlier" counts as larger, the last ones where it counts as smaller.

An edge acts on float32 values, as hardshrink does: x stays if |x| > limit. The limit lies between
the values that round to either side, so that nothing is rounded a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onefold.checkpoints.methods.lazily import np, torch
from onefold.checkpoints.methods.products import blocks

if TYPE_CHECKING:
    from torch import Tensor

Values = Callable[[int, int], "Tensor"]
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


def edge(
    values: Values, numel: int, below: int, dtype: torch.dtype, earlier_is_larger: bool
) -> Edge:
    """The edge that has exactly `below` elements of a tensor below it.

    Args:
        values: (start, stop) -> those elements, float32 or float64.
        numel: number of elements.
        below: number of elements below the edge.
        dtype: in which magnitudes are compared: a 16-bit one, float32, or float64.
        earlier_is_larger: of equal magnitudes, the earlier element counts as the larger one.
    """
    if below <= 0:
        return Edge(ALL, ALL)
    if below >= numel:
        return Edge(NONE, NONE)
    key, under, equal = _key_of_rank(values, numel, below, dtype)
    keep, drop = _limits(key, dtype)
    if under == 0 or key == 0:  # no equal element is below; zeros are all the same
        return Edge(keep, keep)
    if earlier_is_larger:
        return Edge(keep, drop, _position(values, numel, key, equal - under, dtype))
    return Edge(drop, keep, _position(values, numel, key, under, dtype))


def magnitude(values: Values, numel: int, rank: int, dtype: torch.dtype) -> float:
    """The magnitude of the given ascending rank, from 0 on."""
    key, _, _ = _key_of_rank(values, numel, rank, dtype)
    return _value(key, dtype)


def _keys(values: Tensor, dtype: torch.dtype) -> Tensor:
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    return values.to(dtype).abs().view(bits)


def _key_of_rank(values: Values, numel: int, rank: int, dtype: torch.dtype) -> tuple[int, int, int]:
    """The key at an ascending rank, how many equal ones are below the rank, and how many in all."""
    key, equal = 0, numel
    for shift in range(8 * dtype.itemsize - 16, -1, -16):
        counts = np.zeros(1 << 16, dtype=np.int64)
        for start, stop in blocks(numel):
            digits = _digits(_keys(values(start, stop), dtype), shift, key)
            found = torch.bincount(digits)
            counts[: len(found)] += found.numpy()
        summed = np.cumsum(counts)
        digit = int(np.searchsorted(summed, rank, side="right"))
        equal = int(counts[digit])
        rank -= int(summed[digit]) - equal
        key = key << 16 | digit
    return key, rank, equal


def _digits(keys: Tensor, shift: int, prefix: int) -> Tensor:
    """16 bits of the keys from `shift` on, of those keys whose higher bits are `prefix`."""
    if keys.dtype == torch.int16:
        return keys
    digits = keys.numpy()
    if shift + 16 < 8 * keys.itemsize:  # not the highest digit
        digits = digits[digits >> (shift + 16) == prefix]
    return torch.from_numpy((digits >> shift & 0xFFFF).astype(np.int32))


def _position(values: Values, numel: int, key: int, count: int, dtype: torch.dtype) -> int:
    """The index behind the `count`-th element of this key."""
    for start, stop in blocks(numel):
        places = np.flatnonzero(_keys(values(start, stop), dtype).numpy() == key)
        if len(places) >= count:
            return start + int(places[count - 1]) + 1
        count -= len(places)
    raise AssertionError("fewer elements of the key than were counted")


def _value(key: int, dtype: torch.dtype) -> float:
    """The magnitude of a key; behind the greatest finite one, the next power of two."""
    info = torch.finfo(dtype)
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    value = float(torch.tensor([key], dtype=bits).view(dtype)[0])
    return value if value <= info.max else info.max * 2 / (2 - info.eps)


def _limits(key: int, dtype: torch.dtype) -> tuple[float, float]:
    """The limit that keeps the elements of a key, and the one that drops them."""
    if dtype.itemsize > 2:
        return _value(key - 1, dtype) if key else ALL, _value(key, dtype)

    def lower(key: int) -> float:
        """The limit below the values that round to this key; halves go to the even one."""
        if key == 0:
            return ALL
        middle = (_value(key - 1, dtype) + _value(key, dtype)) / 2
        before = np.nextafter(np.float32(middle), np.float32(0))
        return float(before) if key % 2 == 0 else middle

    return lower(key), lower(key + 1)


def kept_share(density: float, numel: int) -> int:
    """The number of elements that a density keeps: at least 1, unless it is 0."""
    return 0 if density <= 0 else max(1, int(density * numel))


__all__: Sequence[str] = ["ALL", "NONE", "Edge", "edge", "kept_share", "magnitude"]
