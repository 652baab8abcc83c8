"""Streaming second moments of the features of K networks, in bounded memory.

For features x_k of member k (rows of shape (C,)) and a reference r this keeps the counts, the means and the scatter matrices
    S_kk = sum (x_k - m_k)(x_k - m_k)'      and      S_rk = sum (x_r - m_r)(x_k - m_k)'   for k != r,
(2K - 1) C^2 numbers and never the activations. Where a mean exceeds three deviations in the first block, features are shifted by the first
block's means before they are squared, which removes the cancellation of the textbook formula. Products run in the features' dtype (at
least float32), sums in float64. Two accumulators merge by the pairwise update of Chan, Golub & LeVeque 1983, "Algorithms for computing
the sample variance".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onefold.errors import DataError


class Moments:
    """Second moments of K members' features at one place. Features are (samples, C) tensors, one for each member, row for row the same samples.

    Args:
        members: K.
        width: C.
        reference: index r of the reference; None keeps no cross moments.
        full: keep whole scatter matrices S_kk; False keeps their diagonals only.
    """

    def __init__(self, members: int, width: int, reference: int | None = 0, *, full: bool = True, device: torch.device | str = "cpu") -> None:
        self.members, self.width, self.reference, self.full = members, width, reference, full
        self.count = 0
        where = torch.device(device)
        self._shift: Tensor | None = None  # (K, C), taken off all features
        self._sum = torch.zeros(members, width, dtype=torch.float64, device=where)  # of shifted features
        self._within = torch.zeros((members, width, width) if full else (members, width), dtype=torch.float64, device=where)
        crossed = reference is not None and members > 1
        self._cross = torch.zeros(members - 1, width, width, dtype=torch.float64, device=where) if crossed else None

    @property
    def numbers(self) -> int:
        """How many numbers are kept: (2K - 1) C^2 + O(K C) with cross and full scatter matrices."""
        kept = [self._sum, self._sum, self._within, self._cross]
        return sum(t.numel() for t in kept if t is not None)

    def update(self, features: Sequence[Tensor]) -> None:
        """Add one block: K tensors (n, C). Raises DataError where they are not finite or do not fit."""
        rows = features[0].shape[0]
        if len(features) != self.members or any(f.shape != (rows, self.width) for f in features):
            raise DataError(f"Expected {self.members} blocks of shape (n, {self.width}), got {[tuple(f.shape) for f in features]}.")
        if rows == 0:
            return
        features = [f if f.dtype in (torch.float32, torch.float64) else f.float() for f in features]
        if self._shift is None:
            self._shift = torch.stack([_shift(f) for f in features]).to(self._sum)
        shifted = [f - s.to(f.dtype) if s.any() else f for f, s in zip(features, self._shift, strict=True)]
        ones = shifted[0].new_ones(rows)
        self._sum += torch.stack([ones @ f for f in shifted])
        for k, f in enumerate(shifted):
            self._within[k] += f.T @ f if self.full else ones @ f.square()
        if self._cross is not None:
            anchor = shifted[self.reference or 0].T
            for row, k in enumerate(self.others):
                self._cross[row] += anchor @ shifted[k]
        self.count += rows

    @property
    def others(self) -> list[int]:
        """Indices of the members that are not the reference, in order: the rows of `cross`."""
        return [k for k in range(self.members) if k != self.reference]

    @property
    def means(self) -> Tensor:
        """Means (K, C), float64."""
        self._require()
        assert self._shift is not None
        means: Tensor = self._shift + self._sum / self.count
        return means

    @property
    def variances(self) -> Tensor:
        """Biased variances (K, C), float64, never negative."""
        self._require()
        diagonal = self._within.diagonal(dim1=1, dim2=2) if self.full else self._within
        variances: Tensor = ((diagonal - self._sum**2 / self.count) / self.count).clamp_min(0.0)
        return variances

    def covariance(self, member: int) -> Tensor:
        """Biased covariance (C, C) of one member, float64."""
        self._require()
        if not self.full:
            raise DataError("Only variances were kept; collect with full=True for covariances.")
        delta = self._sum[member]
        covariance: Tensor = (self._within[member] - torch.outer(delta, delta) / self.count) / self.count
        return covariance

    def cross_covariance(self, member: int) -> Tensor:
        """Biased cross-covariance (C, C), rows: the reference's features, columns: `member`'s. For the reference itself, its covariance."""
        self._require()
        if member == self.reference:
            return self.covariance(member)
        if self._cross is None or self.reference is None:
            raise DataError("No cross moments were kept; collect with a reference.")
        delta = torch.outer(self._sum[self.reference], self._sum[member]) / self.count
        covariance: Tensor = (self._cross[self.others.index(member)] - delta) / self.count
        return covariance

    def correlation(self, member: int, floor: float = 1e-12) -> Tensor:
        """Correlations (C, C) between the reference's features (rows) and `member`'s; 0 where a feature never varies."""
        deviations = self.variances.sqrt()
        assert self.reference is not None
        norm = torch.outer(deviations[self.reference], deviations[member])
        return torch.where(norm > floor, self.cross_covariance(member) / norm.clamp_min(floor), 0.0)

    def merge(self, other: Moments) -> Moments:
        """The moments of both samples together (Chan et al. 1983), as a new accumulator; neither input changes."""
        if (self.members, self.width, self.reference, self.full) != (other.members, other.width, other.reference, other.full):
            raise DataError("Only moments of the same members, width and reference can be merged.")
        result = self._like()
        if self.count == 0 or other.count == 0:
            return result._assign(other if self.count == 0 else self)
        # Move the other's sums onto this one's shift; both are then plain sums about one point.
        assert self._shift is not None
        assert other._shift is not None
        gap, n = other._shift - self._shift, other.count
        result._shift = self._shift.clone()
        result.count = self.count + n
        result._sum = self._sum + other._sum + n * gap

        def moved(a: Tensor, b: Tensor, sum_a: Tensor, sum_b: Tensor) -> Tensor:
            return torch.outer(sum_a, b) + torch.outer(a, sum_b) + n * torch.outer(a, b)

        for k in range(self.members):
            if self.full:
                result._within[k] = self._within[k] + other._within[k] + moved(gap[k], gap[k], other._sum[k], other._sum[k])
            else:
                result._within[k] = self._within[k] + other._within[k] + 2 * gap[k] * other._sum[k] + n * gap[k] ** 2
        if result._cross is not None and self._cross is not None and other._cross is not None and self.reference is not None:
            r = self.reference
            for row, k in enumerate(self.others):
                result._cross[row] = self._cross[row] + other._cross[row] + moved(gap[r], gap[k], other._sum[r], other._sum[k])
        return result

    def reduced(self) -> Moments:
        """The moments over all ranks of torch.distributed; itself where there is one process."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()) or torch.distributed.get_world_size() == 1:
            return self
        parts: list[Moments | None] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, self)
        total = self._like()
        for part in parts:  # in rank order on every rank, so that all ranks hold the same bits
            if part is not None:
                total = total.merge(part)
        return total

    def _like(self) -> Moments:
        return Moments(self.members, self.width, self.reference, full=self.full, device=self._sum.device)

    def _assign(self, other: Moments) -> Moments:
        self.count = other.count
        self._shift = None if other._shift is None else other._shift.clone()
        self._sum, self._within = other._sum.clone(), other._within.clone()
        self._cross = None if other._cross is None else other._cross.clone()
        return self

    def _require(self) -> None:
        if self.count == 0:
            raise DataError("No features were collected; pass at least one batch of data.")


def _shift(block: Tensor, ratio: float = 3.0) -> Tensor:
    """The means of a block (n, C), or zeros where no mean exceeds `ratio` deviations: then squares lose next to nothing, and a pass is saved."""
    deviation, mean = torch.std_mean(block, 0, unbiased=False)
    return mean if bool((mean.abs() > ratio * deviation).any()) else torch.zeros_like(mean)
