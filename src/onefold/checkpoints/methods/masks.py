"""Random masks that depend on names alone.

Bits come from SplitMix64 (Steele, Lea and Flood 2014) as a function of a key and of the element's
number. The key is a hash of the seed, the tensor's and the model's name. Masks are therefore the
same in any order of tensors, on any number of threads, and however a tensor is cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onefold.checkpoints.methods.lazily import np, torch

if TYPE_CHECKING:
    from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15
MIXERS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
Array = Any


def key_of(seed: int, tensor: str, model: str) -> int:
    """A key of 64 bits from the seed and two names."""
    text = "\0".join((str(seed), tensor, model)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def words(key: int, numbers: Array) -> Array:
    """The words of 64 random bits of a key that have the given numbers.

    Args:
        key: of 64 bits.
        numbers: (n,) uint64; they are used up.
    """
    mixed = np.multiply(numbers, np.uint64(GOLDEN), out=numbers)
    np.add(mixed, np.uint64((key + GOLDEN) % (1 << 64)), out=mixed)
    shifted = np.empty_like(mixed)
    for shift, factor in MIXERS:
        np.right_shift(mixed, np.uint64(shift), out=shifted)
        np.bitwise_xor(mixed, shifted, out=mixed)
        np.multiply(mixed, np.uint64(factor), out=mixed)
    np.right_shift(mixed, np.uint64(31), out=shifted)
    return np.bitwise_xor(mixed, shifted, out=mixed)


def fractions(key: int, start: int, stop: int, bits: int) -> Array:
    """Whole numbers below 2 ** bits for the elements `start` to `stop - 1`; bits is 8, 16 or 32."""
    each = 64 // bits
    first = start // each
    numbers = np.arange(first, -(-stop // each), dtype=np.uint64)
    found = words(key, numbers).astype("<u8", copy=False)
    return found.view(f"<u{bits // 8}")[start - first * each : stop - first * each]


def chosen(key: int, start: int, stop: int, probability: float) -> Array:
    """Whether each element is kept, with one probability for all; (stop - start,) bool.

    8 bits decide on most elements. Where they equal those of the probability, 32 further ones do.
    """
    scaled = probability * (1 << 8)
    whole = int(scaled)
    if whole >= 1 << 8:
        return np.ones(stop - start, dtype=bool)
    drawn = fractions(key, start, stop, 8)
    kept = drawn < whole
    undecided = np.flatnonzero(drawn == whole)
    further = words(key ^ GOLDEN, undecided.astype(np.uint64) + np.uint64(start))
    kept[undecided] = np.right_shift(further, np.uint64(32)) < int((scaled - whole) * (1 << 32))
    return kept


@dataclass(frozen=True, eq=False)
class Mask:
    """Which elements of a flat tensor are kept, one bit for each.

    Attributes:
        bits: uint8, packed.
    """

    bits: Array

    def kept(self, values: Tensor, start: int) -> Tensor:
        """The kept elements of a part; 0 in place of the other ones. `values` is changed.

        Args:
            values: (n,) a part of the tensor.
            start: index of the part's first element.
        """
        array = values.numpy()
        np.multiply(array, self.flags(start, start + len(values)), out=array)
        return values

    def flags(self, start: int, stop: int) -> Array:
        """Whether each of the elements `start` to `stop - 1` is kept, bool."""
        low = start // 8
        bits = np.unpackbits(self.bits[low : -(-stop // 8)])
        return bits[start - low * 8 :][: stop - start].view(bool)


def packed(numel: int, step: int, flags: Callable[[int, int], Array]) -> Mask:
    """A mask made block by block.

    Args:
        numel: number of elements.
        step: elements of a block.
        flags: (start, stop) -> bool for these elements.
    """
    bits = np.zeros(-(-numel // 8), dtype=np.uint8)
    rest, first = np.zeros(0, dtype=bool), 0  # what does not fill a byte goes to the next block
    for start in range(0, numel, step):
        stop = min(start + step, numel)
        found = np.concatenate((rest, flags(start, stop))) if len(rest) else flags(start, stop)
        whole = len(found) // 8 * 8 if stop < numel else len(found)
        bytes_ = np.packbits(found[:whole])
        bits[first : first + len(bytes_)] = bytes_
        rest, first = found[whole:], first + len(bytes_)
    return Mask(bits)


__all__ = ["Mask", "chosen", "fractions", "key_of", "packed", "torch", "words"]
