"""Streaming second moments of the features of K networks, in bounded memory.

For features x_k of member k (rows of shape (C,)) and a reference r the accumulator holds the
counts, the means m_k and the scatter matrices

    S_kk = sum (x_k - m_k)(x_k - m_k)'
    S_rk = sum (x_r - m_r)(x_k - m_k)'      for k != r.

These are (2K - 1) C^2 numbers. On demand it holds S_ij for all pairs of members, K (K + 1) / 2 C^2
numbers. Activations are never stored.

If a mean exceeds three deviations in a sample of the first block, features are shifted by that
sample's means before they are squared. This removes the cancellation of the textbook formula.
Products run in the features' dtype (at least float32), sums in float64. Two accumulators merge by
the pairwise update of Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance".
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from onefold.distributed import from_rank, ranks
from onefold.errors import DataError

STILL = 1e-6  # of its mean: a feature that deviates less is constant, as float32 can tell


class Moments:
    """Second moments of K members' features, pooled over one or more sites.

    Features are (samples, C), row for row the same samples.

    The features of a group of a residual stream occur at several sites, each with its own means.
    Every site is centred by itself and the scatter matrices are added. The memory does not grow
    with the number of sites.

    Args:
        members: K.
        width: C.
        reference: index r of the reference; None stores no cross moments.
        full: store whole scatter matrices S_kk; False stores their diagonals only.
        every: store the cross moments of all pairs of members, not only those with the reference.
        sites: how many sites are pooled.
        device: the device of the numbers.
    """

    def __init__(
        self,
        members: int,
        width: int,
        reference: int | None = 0,
        *,
        full: bool = True,
        every: bool = False,
        sites: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.members, self.width, self.reference = members, width, reference
        self.full, self.every, self.sites = full, every, sites
        where = torch.device(device)
        self._counts = [0] * sites
        # (K, C), subtracted from all features of a site
        self._shift: list[Tensor | None] = [None] * sites
        # of shifted features
        self._sum = torch.zeros(sites, members, width, dtype=torch.float64, device=where)
        shape = (members, width, width) if full else (members, width)
        self._within = torch.zeros(shape, dtype=torch.float64, device=where)
        self._pairs = (
            [(i, j) for i in range(members) for j in range(i + 1, members)] if every else []
        )
        if reference is not None and not every:
            self._pairs = [(reference, k) for k in range(members) if k != reference]
        self._cross = torch.zeros(len(self._pairs), width, width, dtype=torch.float64, device=where)

    @property
    def device(self) -> torch.device:
        """The device of the numbers."""
        return self._sum.device

    @property
    def count(self) -> int:
        """Samples seen, over all sites."""
        return sum(self._counts)

    @property
    def numbers(self) -> int:
        """How many float64 numbers are stored.

        With cross moments and full scatter matrices these are (2K - 1) C^2 + O(sites K C).
        """
        return sum(t.numel() for t in (self._sum, self._sum, self._within, self._cross))

    def update(self, features: Sequence[Tensor], site: int = 0) -> None:
        """Add one block of a site: K tensors (n, C).

        Raises:
            DataError: their number or shapes do not fit.
        """
        rows = features[0].shape[0]
        if len(features) != self.members or any(f.shape != (rows, self.width) for f in features):
            raise DataError(
                f"Expected {self.members} blocks of shape (n, {self.width}), got"
                f" {[tuple(f.shape) for f in features]}."
            )
        if rows == 0:
            return
        features = [f if f.dtype in (torch.float32, torch.float64) else f.float() for f in features]
        shift = self._shift[site]
        if shift is None:
            self._shift[site] = shift = torch.stack([_shift(f) for f in features]).to(self._sum)
        shifted = [
            f - s.to(f.dtype) if s.any() else f for f, s in zip(features, shift, strict=True)
        ]
        ones = shifted[0].new_ones(rows)
        self._sum[site] += torch.stack([ones @ f for f in shifted])
        for k, f in enumerate(shifted):
            self._within[k] += f.T @ f if self.full else ones @ f.square()
        for row, (i, j) in enumerate(self._pairs):
            self._cross[row] += shifted[i].T @ shifted[j]
        self._counts[site] += rows

    @property
    def means(self) -> Tensor:
        """Means (K, C), float64, over all samples of all sites."""
        self._require()
        total = torch.zeros_like(self._sum[0])
        for site, shift in enumerate(self._shift):
            if shift is not None:
                total += self._counts[site] * shift + self._sum[site]
        return total / self.count

    @property
    def variances(self) -> Tensor:
        """Biased variances (K, C) within sites, float64, never negative."""
        self._require()
        diagonal = self._within.diagonal(dim1=1, dim2=2) if self.full else self._within
        return ((diagonal - self._means_part(lambda sums: sums**2)) / self.count).clamp_min(0.0)

    @property
    def constant(self) -> Tensor:
        """Which features never vary but for rounding, (K, C) bool."""
        return self.variances.sqrt() <= STILL * self.means.abs()

    def deviations(self, member: int) -> Tensor:
        """Standard deviations (C,) of one member within sites, float64."""
        return self.variances[member].sqrt()

    def covariance(self, member: int) -> Tensor:
        """Biased covariance (C, C) of one member, float64.

        Raises:
            DataError: only variances are stored, or no features were added.
        """
        self._require()
        if not self.full:
            raise DataError("Only variances were stored; collect with full=True for covariances.")
        return (
            self._within[member]
            - self._means_part(lambda sums: torch.outer(sums[member], sums[member]))
        ) / self.count

    def cross_covariance(self, member: int) -> Tensor:
        """Biased cross-covariance (C, C), rows: the reference's features, columns: `member`'s.

        For the reference itself it is the covariance.

        Raises:
            DataError: no cross moments with a reference are stored.
        """
        if self.reference is None:
            raise DataError(
                "No cross moments with a reference were stored; collect with a reference."
            )
        return self.between(self.reference, member)

    def between(self, i: int, j: int) -> Tensor:
        """Biased cross-covariance (C, C), rows: features of member i, columns: those of j.

        Raises:
            DataError: the cross moments of these two members are not stored.
        """
        self._require()
        if i == j:
            return self.covariance(i)
        if (j, i) in self._pairs:
            return self.between(j, i).T
        if (i, j) not in self._pairs:
            raise DataError(
                f"No cross moments of members {i} and {j} were stored; collect with every=True."
            )
        return (
            self._cross[self._pairs.index((i, j))]
            - self._means_part(lambda sums: torch.outer(sums[i], sums[j]))
        ) / self.count

    def with_reference(self, reference: int) -> Moments:
        """The same moments with another reference; they must hold all pairs.

        The numbers are shared, not copied.
        """
        result = copy.copy(self)
        result.reference = reference
        return result

    def correlation(self, member: int) -> Tensor:
        """Correlations (C, C) between the reference's features (rows) and `member`'s.

        They are 0 for a feature that never varies.
        """
        assert self.reference is not None
        return self.correlation_between(self.reference, member)

    def correlation_between(self, i: int, j: int, floor: float = 1e-12) -> Tensor:
        """Correlations (C, C) between the features of member i (rows) and those of member j.

        They are 0 if the product of the two deviations is at most `floor`.
        """
        deviations = self.variances.sqrt()
        norm = torch.outer(deviations[i], deviations[j])
        return torch.where(norm > floor, self.between(i, j) / norm.clamp_min(floor), 0.0)

    def merge(self, other: Moments) -> Moments:
        """The moments of both samples together (Chan et al. 1983), as a new accumulator.

        Neither input changes.

        Raises:
            DataError: the two are of other members, widths, references or sites.
        """
        kind = (self.members, self.width, self._pairs, self.full, self.sites)
        if kind != (other.members, other.width, other._pairs, other.full, other.sites):
            raise DataError(
                "Only moments of the same members, width, reference and sites can be merged."
            )
        result = copy.deepcopy(self)
        result._within += other._within
        result._cross += other._cross
        for site, (shift, other_shift) in enumerate(zip(self._shift, other._shift, strict=True)):
            result._counts[site] += other._counts[site]
            result._sum[site] += other._sum[site]
            if other_shift is None:
                continue
            if shift is None:
                result._shift[site] = other_shift.clone()
                continue
            # Move the other's sums onto this one's shift; both are then plain sums about one point.
            result._move(site, other_shift - shift, other._sum[site], other._counts[site])
        return result

    def reduced(self) -> Moments:
        """The moments over all ranks of torch.distributed; itself if there is one process."""
        if ranks() == 1:
            return self
        plain, total = self.to_plain(), self
        # In rank order on every rank, so that all ranks hold the same bits; one rank's at a time.
        for number in range(ranks()):
            part = Moments.from_plain(from_rank(number, plain), self.device)
            total = part if number == 0 else total.merge(part)
        return total

    def copy_from(self, part: Moments, members: Sequence[int]) -> None:
        """Copy the moments of some members from `part` into this accumulator.

        Args:
            part: moments of some of the members, of the same samples as every other part.
            members: member i of `part` is member `members[i]` of this accumulator.
        """
        for i, k in enumerate(members):
            for site, shift in enumerate(part._shift):
                if shift is not None:
                    shifts = self._shift[site]
                    if shifts is None:
                        shifts = self._sum.new_zeros(self.members, self.width)
                        self._shift[site] = shifts
                    shifts[k] = shift[i]
            self._sum[:, k] = part._sum[:, i]
            self._within[k] = part._within[i]
        self._counts = list(part._counts)
        for row, (i, j) in enumerate(part._pairs):
            first, second = members[i], members[j]
            if (first, second) in self._pairs:
                self._cross[self._pairs.index((first, second))] = part._cross[row]
            elif (second, first) in self._pairs:
                self._cross[self._pairs.index((second, first))] = part._cross[row].T

    def to_plain(self) -> dict[str, Any]:
        """All that is stored, as tensors on the CPU and plain data, for a file or a process."""
        names = ("members", "width", "reference", "full", "every", "sites")
        tensors = {"sum": self._sum.cpu(), "within": self._within.cpu(), "cross": self._cross.cpu()}
        shift = [None if s is None else s.cpu() for s in self._shift]
        return {
            **{name: getattr(self, name) for name in names},
            "counts": self._counts,
            "shift": shift,
            **tensors,
        }

    @staticmethod
    def from_plain(content: Mapping[str, Any], device: torch.device | str = "cpu") -> Moments:
        """The moments that `to_plain` gave."""
        moments = Moments(
            content["members"],
            content["width"],
            content["reference"],
            full=content["full"],
            every=content["every"],
            sites=content["sites"],
            device="meta",
        )
        moments._counts = list(content["counts"])
        moments._shift = [None if shift is None else shift.to(device) for shift in content["shift"]]
        moments._sum = content["sum"].to(device)
        moments._within = content["within"].to(device)
        moments._cross = content["cross"].to(device)
        return moments

    def _move(self, site: int, gap: Tensor, sums: Tensor, count: int) -> None:
        """Account for samples whose sums were taken about another point.

        Args:
            site: the site of the samples.
            gap: (K, C), their point less this accumulator's.
            sums: (K, C), their sums about their point.
            count: how many they are.
        """

        def moved(a: int, b: int) -> Tensor:
            return (
                torch.outer(sums[a], gap[b])
                + torch.outer(gap[a], sums[b])
                + count * torch.outer(gap[a], gap[b])
            )

        self._sum[site] += count * gap
        for k in range(self.members):
            self._within[k] += moved(k, k) if self.full else moved(k, k).diagonal()
        for row, (i, j) in enumerate(self._pairs):
            self._cross[row] += moved(i, j)

    def _means_part(self, product: Callable[[Tensor], Tensor]) -> Tensor:
        """Sum over the sites of product(sums) / count.

        It is subtracted from the shifted squares, as the shift is not quite the mean.
        """
        return torch.stack(
            [product(s) / n for s, n in zip(self._sum, self._counts, strict=True) if n]
        ).sum(0)

    def _require(self) -> None:
        if self.count == 0:
            raise DataError("No features were collected; pass at least one batch of data.")


def _shift(block: Tensor, ratio: float = 3.0, rows: int = 1024) -> Tensor:
    """The means of a block (n, C), or zeros if no mean exceeds `ratio` deviations.

    With zeros the squares lose next to nothing, and a pass is saved. About `rows` rows of the block
    are enough to decide: deviations of all rows would take longer than everything else that is
    done with the block.
    """
    # An odd step, so that the rows of an image are not all from one of its columns.
    some = block[:: block.shape[0] // rows | 1]
    deviation, mean = torch.std_mean(some, 0, unbiased=False)
    return mean if bool((mean.abs() > ratio * deviation).any()) else torch.zeros_like(mean)
