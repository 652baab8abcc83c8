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

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onefold.checkpoints.methods.lazily import np, torch
from onefold.checkpoints.methods.products import blocks

if TYPE_CHECKING:
    from torch import Tensor

Values = Callable[[int, int], "Tensor"]
SAMPLED = 1 << 19  # elements from which on a sample is taken
STRETCH = 1024  # elements of the sample in each block
MOST = 0.2  # share of the sample that may lie between


@dataclass(frozen=True)
class Rank:
    """What is at an ascending rank.

    Attributes:
        key: the key at the rank.
        under: how many elements of this key are below the rank.
        equal: how many elements have this key.
    """

    key: int
    under: int
    equal: int


def rank_of(values: Values, numel: int, rank: int, dtype: torch.dtype) -> Rank:
    """What is at an ascending rank of magnitudes.

    Args:
        values: (start, stop) -> those elements, float32 or float64.
        numel: number of elements.
        rank: from 0 on.
        dtype: in which magnitudes are compared: a 16-bit one, float32, or float64.
    """
    wide = dtype.itemsize > 2 and numel >= SAMPLED
    between = _between(values, numel, rank, dtype) if wide else None
    found = None if between is None else _collected(values, numel, rank, dtype, between)
    return found or _counted(values, numel, rank, dtype)


def keys_of(values: Tensor, dtype: torch.dtype) -> Tensor:
    """The keys of the elements' magnitudes; whole numbers of as many bits as the dtype."""
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    return values.to(dtype).abs().view(bits)


def value_of(key: int, dtype: torch.dtype) -> float:
    """The magnitude of a key; behind the greatest finite one, the next power of two."""
    info = torch.finfo(dtype)
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    value = float(torch.tensor([key], dtype=bits).view(dtype)[0])
    return value if value <= info.max else info.max * 2 / (2 - info.eps)


def position_of(values: Values, numel: int, key: int, count: int, dtype: torch.dtype) -> int:
    """The index behind the `count`-th element of a key."""
    for start, stop in blocks(numel):
        places = np.flatnonzero(keys_of(values(start, stop), dtype).numpy() == key)
        if len(places) >= count:
            return start + int(places[count - 1]) + 1
        count -= len(places)
    raise AssertionError("fewer elements of the key than were counted")


def _between(values: Values, numel: int, rank: int, dtype: torch.dtype) -> tuple[int, int] | None:
    """The keys between which a sample says that the wanted one lies; None if that is no help."""
    parts = [
        keys_of(values(start, min(start + STRETCH, stop)), dtype).numpy()
        for start, stop in blocks(numel)
    ]
    sample = np.concatenate(parts)
    sample.sort()
    count, share = len(sample), rank / numel
    around = 0.01 + 12 * (share * (1 - share) / count) ** 0.5  # neighbours are not independent
    low, high = int((share - around) * count), int((share + around) * count) + 1
    least = int(sample[low]) if low > 0 else 0
    most = int(sample[high]) if high < count else int(np.iinfo(sample.dtype).max)
    inside = np.searchsorted(sample, most, "right") - np.searchsorted(sample, least, "left")
    return (least, most) if inside <= MOST * count else None


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
    return Rank(int(key), under, int(np.count_nonzero(found == key)))


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
    return Rank(key, rank, equal)


def _digits(keys: Tensor, shift: int, prefix: int) -> Tensor:
    """16 bits of the keys from `shift` on, of those keys whose higher bits are `prefix`."""
    if keys.dtype == torch.int16:
        return keys
    digits = keys.numpy()
    if shift + 16 < 8 * keys.itemsize:  # not the highest digit
        digits = digits[digits >> (shift + 16) == prefix]
    return torch.from_numpy((digits >> shift & 0xFFFF).astype(np.int32))
