"""Sums over the models that agree with the elected sign (Yadav et al. 2023, arXiv 2306.01708).

At each element the sign s of sum_i x_i is elected; a sum of 0 elects plus. Models of the other
sign, and zeros, take no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onefold.checkpoints.methods.lazily import torch
from onefold.checkpoints.methods.scratch import buffer

if TYPE_CHECKING:
    from torch import Tensor

TINY = 1.2e-38  # added to sums before their sign is taken, so that 0 counts as plus


@dataclass(frozen=True, eq=False)
class Elected:
    """What the agreeing models come to.

    Attributes:
        magnitude: the sum of their |x_i| times their factors.
        sign: s, 1 or -1.
        agreeing: the sum of their weights, if it was asked for.
    """

    magnitude: Tensor
    sign: Tensor
    agreeing: Tensor | None

    def signed(self, factor: float = 1.0) -> Tensor:
        """The sum with its sign, times a factor, in the memory of the magnitude."""
        self.magnitude.mul_(self.sign)
        return self.magnitude if factor == 1 else self.magnitude.mul_(factor)


def elect(
    changes: Sequence[Tensor],
    weights: Sequence[float] | None,
    factors: Sequence[float] | None = None,
) -> Elected:
    """Elect signs and sum what agrees.

    Args:
        changes: x, (n,) for each model; the tensors are used up.
        weights: of each model in `agreeing`; None: it is not needed.
        factors: of each model in the sum; None: 1.
    """
    numel, dtype = len(changes[0]), changes[0].dtype
    sign, merged, agreeing = (buffer("elect", i, numel, dtype) for i in range(3))
    if len(changes) == 1:
        sign.copy_(changes[0])
    else:
        torch.add(changes[0], changes[1], out=sign)
    for change in changes[2:]:
        sign.add_(change)
    sign.add_(TINY).sign_()
    for i, change in enumerate(changes):
        change.mul_(sign).relu_()
        factor = 1.0 if factors is None else factors[i]
        if i == 0:
            torch.mul(change, factor, out=merged)
        else:
            merged.add_(change, alpha=factor)
        if weights is not None and i == 0:
            torch.mul(change.sign_(), weights[0], out=agreeing)
        elif weights is not None:
            agreeing.add_(change.sign_(), alpha=weights[i])
    return Elected(merged, sign, None if weights is None else agreeing)
