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
from typing import TYPE_CHECKING, Any, ClassVar

from onefold.checkpoints.methods.base import BLOCK, Cut, TensorInputs, methods
from onefold.checkpoints.methods.lazily import np, torch
from onefold.checkpoints.methods.masks import Mask, chosen, fractions, key_of, packed
from onefold.checkpoints.methods.parameters import DENSITY, WEIGHT, Parameter, Value, setting
from onefold.checkpoints.methods.products import columns_of, row_of
from onefold.checkpoints.methods.ties import NORMALIZE, Between, Everything, Trim, TrimmedMethod
from onefold.checkpoints.methods.trimming import NONE, Edge

if TYPE_CHECKING:
    from torch import Tensor

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
        ramp = np.linspace(density - epsilon, density + epsilon, row) if row > 1 else density
        limits = np.broadcast_to(np.asarray(ramp * (1 << 32), dtype=np.uint32), (row,))
        dtype = inputs.ranking

        def flags(start: int, stop: int) -> Any:
            order = ascending(inputs.delta(index, start, stop).view(-1, row), dtype)
            drawn = fractions(key, start, stop, 32).reshape(-1, row) < limits
            return by_place(order, drawn).reshape(-1)

        return packed(inputs.numel, self.step(inputs), flags)


def ascending(rows: Tensor, dtype: torch.dtype) -> Any:
    """For each row the places of its elements, from the smallest magnitude to the largest one.

    Of equal magnitudes the earlier one comes first. Place and magnitude are sorted as one whole
    number, the magnitude in its higher bits.

    Args:
        rows: (rows, n).
        dtype: in which magnitudes are compared.
    """
    length = rows.shape[1]
    place = max(1, (length - 1).bit_length())
    bits = 8 * dtype.itemsize - 1
    if bits + place > 64:
        return np.argsort(rows.to(dtype).abs().numpy(), axis=1, kind="stable")
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    kind = np.uint32 if bits + place <= 32 else np.uint64
    joined = rows.to(dtype).abs().view(whole).numpy().astype(kind)
    np.left_shift(joined, kind(place), out=joined)
    np.bitwise_or(joined, np.arange(length, dtype=kind), out=joined)
    joined.sort(axis=1)
    return np.bitwise_and(joined, kind((1 << place) - 1))


def by_place(order: Any, flags: Any) -> Any:
    """Flags in the order of the places, (rows, n) bool, from those in the order of magnitudes.

    Place and flag are sorted as one whole number, which is faster than writing to the places.

    Args:
        order: (rows, n) places.
        flags: (rows, n) bool.
    """
    joined = order.astype(np.uint16 if order.shape[1] <= 1 << 15 else np.uint32)
    np.left_shift(joined, joined.dtype.type(1), out=joined)
    np.bitwise_or(joined, flags, out=joined)
    joined.sort(axis=1)
    return np.bitwise_and(joined, joined.dtype.type(1)).astype(bool)


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


__all__ = ["DareLinear", "DareTies", "Della", "DellaLinear", "Mask", "ascending"]
