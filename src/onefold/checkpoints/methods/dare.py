"""Random parts of what each model changed, rescaled and summed.

DARE (Yu et al. 2024, arXiv 2311.03099) keeps each element of theta_i - theta_0 with probability
`density`. DELLA (Deep et al. 2024, arXiv 2406.11617) keeps the larger ones of a row more often,

    p = density - epsilon + 2 epsilon (rank - 1) / (length - 1)

with ranks of magnitudes within the row, from 1 for the smallest one.

`rescale` multiplies what is kept of a tensor by |delta_i|_1 / |kept|_1. In expectation this is the
1 / density of DARE. The sums, elections and divisors are those of `ties.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from onefold.checkpoints.methods.base import BLOCK, Cut, TensorInputs, methods
from onefold.checkpoints.methods.lazily import np
from onefold.checkpoints.methods.masks import chosen, fractions, key_of, packed
from onefold.checkpoints.methods.parameters import DENSITY, WEIGHT, Parameter, Value, setting
from onefold.checkpoints.methods.products import columns_of, row_of
from onefold.checkpoints.methods.ranking import keys_of
from onefold.checkpoints.methods.ties import NORMALIZE, Between, Everything, Trim, TrimmedMethod
from onefold.checkpoints.methods.trimming import NONE, Edge

CHANCES = 1 << 15  # of which probabilities by rank are whole numbers
RESCALE = "Restore the sum of magnitudes after the random choice."
EPSILON = Parameter(
    "epsilon", 0.15, low=0.0, high=1.0, help="How far probabilities lie around the density."
)


@methods.register("dare_linear")
@dataclass(frozen=True)
class DareLinear(TrimmedMethod):
    """The sum of a random part of each model's changes.

    Attributes:
        normalize: divide by the sum of the weights.
        rescale: restore the sum of magnitudes that a tensor's change had.
        lambda_: factor of the merged change.
        int8_mask: accepted and without effect.
    """

    rescale: bool = setting(True, kind=bool, help=RESCALE)

    random: ClassVar[bool] = True

    def trim(self, inputs: TensorInputs, index: int) -> Trim:
        """A random share `density`."""
        density = float(inputs.parameters[index]["density"] or 0.0)
        if density >= 1:
            return Everything()
        if density <= 0:
            return Between(Edge(NONE, NONE))
        key = key_of(inputs.seed, inputs.name, inputs.models[index])
        return packed(inputs.numel, BLOCK, lambda start, stop: chosen(key, start, stop, density))


@methods.register("dare_ties")
@dataclass(frozen=True)
class DareTies(DareLinear):
    """A random part of each model's changes, where its sign is that of the sum.

    Attributes:
        normalize: divide by the sum of the weights that take part.
        rescale: restore the sum of magnitudes that a tensor's change had.
        lambda_: factor of the merged change.
        int8_mask: accepted and without effect.
    """

    elects: ClassVar[bool] = True


@methods.register("della_linear")
@dataclass(frozen=True)
class DellaLinear(TrimmedMethod):
    """The sum of a random part of each model's changes, of larger ones more often.

    Rows are the last dimension of matrices. Tensors of more dimensions have one row for each index
    of the first one.

    Attributes:
        normalize: divide by the sum of the weights.
        rescale: restore the sum of magnitudes that a tensor's change had.
        lambda_: factor of the merged change.
        int8_mask: accepted and without effect.
    """

    rescale: bool = setting(True, kind=bool, help=RESCALE)

    per_model: ClassVar[tuple[Parameter, ...]] = (WEIGHT, DENSITY, EPSILON)
    cut: ClassVar[Cut] = "rowwise"
    random: ClassVar[bool] = True

    def problem(self, parameters: Sequence[Mapping[str, Value]]) -> str | None:
        """Probabilities of a density below 1 lie strictly between 0 and 1."""
        for given in parameters:
            density, epsilon = float(given["density"] or 0.0), float(given["epsilon"] or 0.0)
            if 0 < density < 1 and not 0 < density - epsilon <= density + epsilon < 1:
                return (
                    f"The density {density:g} and the epsilon {epsilon:g} of {self.label} give"
                    f" probabilities from {density - epsilon:g} to {density + epsilon:g}; they must"
                    f" lie between 0 and 1, so choose an epsilon below"
                    f" {min(density, 1 - density):g}."
                )
        return None

    def row(self, shape: Sequence[int]) -> int:
        """The length of a row."""
        return columns_of(shape) if len(shape) > 1 else row_of(shape)

    def trim(self, inputs: TensorInputs, index: int) -> Trim:
        """A random share, of the larger magnitudes of a row more."""
        given, row = inputs.parameters[index], self.row(inputs.shape)
        density, epsilon = float(given["density"] or 0.0), float(given["epsilon"] or 0.0)
        if density >= 1:
            return Everything()
        if density <= 0:
            return Between(Edge(NONE, NONE))
        key = key_of(inputs.seed, inputs.name, inputs.models[index])
        around = epsilon if row > 1 else 0.0
        low, high = (int((density + side * around) * CHANCES) for side in (-1, 1))
        dtype = inputs.ranking

        def flags(start: int, stop: int) -> Any:
            keys = keys_of(inputs.delta(index, start, stop), dtype).numpy().reshape(-1, row)
            return by_rank(keys, fractions(key, start, stop, 16), low, high)

        return packed(inputs.numel, self.step(inputs), flags)


def by_rank(keys: Any, drawn: Any, low: int, high: int) -> Any:
    """Which elements are kept, with probabilities that rise along the ranks of each row.

    An element whose random number lies below `low` is kept at any rank, one from `high` on at none.
    One between is kept from that rank on at which the probability exceeds it, that is, if it is not
    below the row's element at that rank. Only these need to be looked up. Equal elements take the
    last of their ranks or the first, by a random bit. Probabilities rise by equal steps, so that
    this is the probability of their mean rank.

    Args:
        keys: (rows, n) whole numbers in the order of the magnitudes, n at least 2 where `low` and
            `high` differ; they are not changed.
        drawn: (rows * n,) uint16, random; the lowest bit is that of equal elements.
        low: of `CHANCES`, the probability of the smallest element of a row.
        high: that of the largest one.

    Returns:
        (rows * n,) bool.
    """
    length, numbers = keys.shape[1], drawn >> np.uint16(1)
    kept = numbers < low
    between = np.flatnonzero((numbers - np.uint16(low)) < np.uint16(max(high - low, 0)))
    if not len(between):
        return kept
    ordered = np.sort(keys, axis=1).reshape(-1)
    step = np.float32((length - 1) / (high - low))
    ranks = np.ceil((numbers.take(between) - np.float32(low - 0.5)) * step).astype(np.int64)
    first = ~drawn.take(between).astype(keys.dtype) & 1
    limits = ordered.take(between // length * length + np.clip(ranks, 1, length - 1) - first)
    kept[between] = keys.reshape(-1).take(between) >= limits + first
    return kept


@methods.register("della")
@dataclass(frozen=True)
class Della(DellaLinear):
    """A random part of each model's changes, of larger ones more often, where signs agree.

    Attributes:
        normalize: divide by the sum of the weights that take part.
        rescale: restore the sum of magnitudes that a tensor's change had.
        lambda_: factor of the merged change.
        int8_mask: accepted and without effect.
    """

    normalize: bool = setting(True, kind=bool, help=NORMALIZE)

    elects: ClassVar[bool] = True


__all__ = ["DareLinear", "DareTies", "Della", "DellaLinear", "by_rank"]
