"""The magnitude of a given rank in a tensor, exactly and without sorting it.

The bits of a non-negative float, read as a whole number, are in the order of the floats. Such a
number is called a key.

For bfloat16 and float16 a histogram of the keys finds it in one pass. In wider floats a sample
tells between which keys the wanted one lies. One pass then counts the keys below and collects those
between, among which the wanted one is selected. If too many lie between, or the sample misled,
histograms over 16 bits of the keys at a time find it, in two passes for float32 and four for
float64. All ways are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onefold.checkpoints.methods.lazily import np, torch
from onefold.checkpoints.methods.products import blocks
from onefold.checkpoints.methods.scratch import buffer

if TYPE_CHECKING:
    from torch import Tensor

Values = Callable[[int, int], "Tensor"]
SAMPLED = 1 << 19  # elements from which on a sample is taken
STRETCHES, STRETCH = 256, 1024  # of the sample at most, and the elements of each
APART = 1 << 12  # elements from one stretch to the next at least
MOST, FEW = 0.05, 1 << 20  # the share or the number of elements that may lie between
SPAN = 4  # blocks whose histograms are kept as one


@dataclass(frozen=True)
class Rank:
    """What is at an ascending rank.

    Attributes:
        key: the key at the rank.
        under: how many elements of this key are below the rank.
        equal: how many elements have this key.
        spans: parts of the tensor in their order, (start, stop, how many have this key).
    """

    key: int
    under: int
    equal: int
    spans: Sequence[tuple[int, int, int]]


def ranks_of(values: Values, numel: int, ranks: Sequence[int], dtype: torch.dtype) -> list[Rank]:
    """What is at several ascending ranks of magnitudes.

    Args:
        values: (start, stop) -> those elements, float32 or float64.
        numel: number of elements.
        ranks: from 0 on.
        dtype: in which magnitudes are compared: a 16-bit one, float32, or float64.
    """
    if dtype.itemsize == 2:
        histogram = Histogram(values, numel, dtype)
        return [histogram.at(rank) for rank in ranks]
    found = []
    for rank in ranks:
        between = _between(values, numel, rank, dtype) if numel >= SAMPLED else None
        one = None if between is None else _collected(values, numel, rank, dtype, between)
        found.append(one or _counted(values, numel, rank, dtype))
    return found


def ranking_bytes(numel: int) -> int:
    """An upper estimate of the memory that finding a rank takes."""
    return numel // 2 + 8 * min(numel, FEW)


def keys_of(values: Tensor, dtype: torch.dtype) -> Tensor:
    """The keys of the elements' magnitudes; whole numbers of as many bits as the dtype.

    They are good until this thread asks for other keys.
    """
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    keys = buffer("keys", 0, len(values), bits)
    if values.dtype != dtype:
        values = keys.view(dtype).copy_(values)
    return torch.bitwise_and(values.view(bits), torch.iinfo(bits).max, out=keys)


def value_of(key: int, dtype: torch.dtype) -> float:
    """The magnitude of a key; behind the greatest finite one, the next power of two."""
    info = torch.finfo(dtype)
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    value = float(torch.tensor([key], dtype=bits).view(dtype)[0])
    return value if value <= info.max else info.max * 2 / (2 - info.eps)


def position_of(values: Values, rank: Rank, count: int, dtype: torch.dtype) -> int:
    """The index behind the `count`-th element of the key of a rank."""
    for first, last, equal in rank.spans:
        if equal < count:
            count -= equal
            continue
        for start, stop in _within(first, last):
            keys = keys_of(values(start, stop), dtype).numpy()
            places = np.flatnonzero(keys == rank.key)
            if len(places) >= count:
                return start + int(places[count - 1]) + 1
            count -= len(places)
    raise AssertionError("fewer elements of the key than were counted")


def _within(first: int, last: int) -> Iterable[tuple[int, int]]:
    return ((first + start, first + stop) for start, stop in blocks(last - first))


class Histogram:
    """How many elements have each key of 16 bits, counted in one pass.

    Args:
        values: (start, stop) -> those elements, float32 or float64.
        numel: number of elements.
        dtype: in which magnitudes are compared, a 16-bit one.
    """

    def __init__(self, values: Values, numel: int, dtype: torch.dtype) -> None:
        self.spans: list[tuple[int, int, Any]] = []  # start, stop, counts
        parts = blocks(numel)
        for i in range(0, len(parts), SPAN):
            counts = np.zeros(1 << 15, dtype=np.int32)
            for start, stop in parts[i : i + SPAN]:
                found = torch.bincount(keys_of(values(start, stop), dtype)).numpy()
                np.add(counts[: len(found)], found, out=counts[: len(found)], casting="unsafe")
            self.spans.append((parts[i][0], parts[min(i + SPAN, len(parts)) - 1][1], counts))
        self.counts = sum(counts.astype(np.int64) for _, _, counts in self.spans)
        self._summed = np.cumsum(self.counts)

    @property
    def zeros(self) -> int:
        """How many elements are 0 in the dtype of the comparison."""
        return int(self.counts[0])

    def at(self, rank: int) -> Rank:
        """What is at an ascending rank."""
        key = int(np.searchsorted(self._summed, rank, side="right"))
        equal = int(self.counts[key])
        held = [(start, stop, int(counts[key])) for start, stop, counts in self.spans]
        return Rank(key, rank - (int(self._summed[key]) - equal), equal, held)


def _between(values: Values, numel: int, rank: int, dtype: torch.dtype) -> tuple[int, int] | None:
    """The keys between which a sample says that the wanted one lies; None if that is no help."""
    apart = max(APART, -(-numel // STRETCHES))
    parts = [
        keys_of(values(start, min(start + STRETCH, numel)), dtype).numpy().copy()
        for start in range(0, numel, apart)
    ]
    sample = np.concatenate(parts)
    sample.sort()
    count, share = len(sample), rank / numel
    around = 0.01 + 12 * (share * (1 - share) / count) ** 0.5  # neighbours are not independent
    low, high = int((share - around) * count), int((share + around) * count) + 1
    least = int(sample[low]) if low > 0 else 0
    most = int(sample[high]) if high < count else int(np.iinfo(sample.dtype).max)
    inside = np.searchsorted(sample, most, "right") - np.searchsorted(sample, least, "left")
    return (least, most) if inside / count * numel <= max(MOST * numel, FEW) else None


def _collected(
    values: Values, numel: int, rank: int, dtype: torch.dtype, between: tuple[int, int]
) -> Rank | None:
    """What is at the rank, if it lies between the two keys."""
    least, most = between
    parts = []
    for start, stop in blocks(numel):
        keys = keys_of(values(start, stop), dtype).numpy()
        rank -= int(np.count_nonzero(keys < least))
        inside = keys - keys.dtype.type(least)  # negative below, and then large as unsigned
        unsigned = inside.view(f"u{keys.itemsize}")
        parts.append(keys[np.flatnonzero(unsigned <= unsigned.dtype.type(most - least))])
    found = np.concatenate(parts)
    if not 0 <= rank < len(found):
        return None
    key: Any = np.partition(found, rank)[rank]
    under = rank - int(np.count_nonzero(found < key))
    spans = [
        (start, stop, int(np.count_nonzero(part == key)))
        for (start, stop), part in zip(blocks(numel), parts, strict=True)
    ]
    return Rank(int(key), under, int(np.count_nonzero(found == key)), spans)


def _counted(values: Values, numel: int, rank: int, dtype: torch.dtype) -> Rank:
    """What is at the rank, by histograms."""
    key, equal = 0, numel
    for shift in range(8 * dtype.itemsize - 16, -1, -16):
        counts = np.zeros(1 << 16, dtype=np.int64)
        for start, stop in blocks(numel):
            digits = _digits(keys_of(values(start, stop), dtype), shift, key)
            found = torch.bincount(digits)
            counts[: len(found)] += found.numpy()
        summed = np.cumsum(counts)
        digit = int(np.searchsorted(summed, rank, side="right"))
        equal = int(counts[digit])
        rank -= int(summed[digit]) - equal
        key = key << 16 | digit
    return Rank(key, rank, equal, [(0, numel, equal)])


def _digits(keys: Tensor, shift: int, prefix: int) -> Tensor:
    """16 bits of the keys from `shift` on, of those keys whose higher bits are `prefix`."""
    digits = keys.numpy()
    if shift + 16 < 8 * keys.itemsize:  # not the highest digit
        digits = digits[digits >> (shift + 16) == prefix]
    return torch.from_numpy((digits >> shift & 0xFFFF).astype(np.int32))
