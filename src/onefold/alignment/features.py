"""What a matcher is given: the second moments of one group's features in the reference and in one
member, whole or of one fibre of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from onefold.alignment.moments import Moments
from onefold.symmetry import GroupMap


class Features(Protocol):
    """Second moments of C features of a reference r and of a member k, each (C, C), float64.

    `Moments` is one, for all of its members.
    """

    @property
    def width(self) -> int: ...

    @property
    def reference(self) -> int | None: ...

    def deviations(self, member: int) -> Tensor: ...  # (C,)

    def covariance(self, member: int) -> Tensor: ...

    def cross_covariance(self, member: int) -> Tensor: ...

    def correlation(self, member: int) -> Tensor: ...


TIE = 1e-5  # of a correlation: what likeness of deviations may decide


def likeness(moments: Features, member: int) -> Tensor:
    """Correlations (C, C) of the reference's features with the member's, plus TIE times how alike
    their deviations are.

        corr_ij + TIE * 2 s_i s_j / (s_i^2 + s_j^2)

    Features that are active on the same few examples are correlated perfectly with one another, so
    that rounding would choose among them.
    """
    assert moments.reference is not None
    ours, theirs = moments.deviations(moments.reference)[:, None], moments.deviations(member)
    sums = ours.square() + theirs.square()
    alike = torch.where(sums > 0, 2 * ours * theirs / sums.clamp_min(1e-300), 1.0)
    return moments.correlation(member) + TIE * alike


@dataclass(frozen=True)
class MemberPair:
    """The reference's and one member's features of a group whose `fibres` stand side by side,
    (fibres x C), to be cut into blocks.
    """

    moments: Moments
    member: int
    fibres: int

    @cached_property
    def _own(self) -> Tensor:
        return self.moments.covariance(self.moments.reference or 0)

    @cached_property
    def _other(self) -> Tensor:
        return self.moments.covariance(self.member)

    @cached_property
    def _cross(self) -> Tensor:
        return self.moments.cross_covariance(self.member)

    @cached_property
    def _correlation(self) -> Tensor:
        return self.moments.correlation(self.member)

    def block(self, ours: int, theirs: int) -> FibreBlock:
        """Fibre `ours` of the reference beside fibre `theirs` of the member."""
        return FibreBlock(self, ours, theirs)


@dataclass(frozen=True)
class FibreBlock:
    """One fibre of the reference and one of the member, as Features."""

    pair: MemberPair
    ours: int
    theirs: int

    @property
    def width(self) -> int:
        return self.pair.moments.width // self.pair.fibres

    @property
    def reference(self) -> int | None:
        return self.pair.moments.reference

    def deviations(self, member: int) -> Tensor:
        fibre = self.ours if member == self.reference else self.theirs
        return self.pair.moments.deviations(member)[fibre * self.width : (fibre + 1) * self.width]

    def covariance(self, member: int) -> Tensor:
        if member == self.reference:
            return self._cut(self.pair._own, self.ours, self.ours)
        return self._cut(self.pair._other, self.theirs, self.theirs)

    def cross_covariance(self, member: int) -> Tensor:
        return self._cut(self.pair._cross, self.ours, self.theirs)

    def correlation(self, member: int) -> Tensor:
        return self._cut(self.pair._correlation, self.ours, self.theirs)

    def _cut(self, matrix: Tensor, row: int, column: int) -> Tensor:
        c = self.width
        return matrix[row * c : (row + 1) * c, column * c : (column + 1) * c]


@dataclass(frozen=True)
class PooledFeatures:
    """Several places where one and the same map acts, each scaled to unit mean variance: queries
    and keys under a permutation or rotation.
    """

    parts: Sequence[Features]

    @property
    def width(self) -> int:
        return self.parts[0].width

    @property
    def reference(self) -> int | None:
        return self.parts[0].reference

    def deviations(self, member: int) -> Tensor:
        own = [part.deviations(member) for part in self.parts]
        return torch.stack(
            [one / one.square().mean().sqrt().clamp_min(1e-150) for one in own]
        ).mean(0)

    def covariance(self, member: int) -> Tensor:
        return torch.stack(
            [part.covariance(member) / self._variance(part, member) for part in self.parts]
        ).mean(0)

    def cross_covariance(self, member: int) -> Tensor:
        assert self.reference is not None
        scales = [
            (self._variance(part, self.reference) * self._variance(part, member)).sqrt()
            for part in self.parts
        ]
        return torch.stack(
            [
                part.cross_covariance(member) / scale
                for part, scale in zip(self.parts, scales, strict=True)
            ]
        ).mean(0)

    def correlation(self, member: int) -> Tensor:
        return torch.stack([part.correlation(member) for part in self.parts]).mean(0)

    @staticmethod
    def _variance(part: Features, member: int) -> Tensor:
        return part.covariance(member).diagonal().mean().clamp_min(1e-300)


@dataclass(frozen=True)
class CroppedFeatures:
    """The features of a group, C_r of the reference and C_k of a member, in moments of the widest.

    It is `Features`.
    """

    moments: Moments
    widths: Sequence[int]

    @property
    def width(self) -> int:
        assert self.reference is not None
        return self.widths[self.reference]

    @property
    def reference(self) -> int | None:
        return self.moments.reference

    def deviations(self, member: int) -> Tensor:
        return self.moments.deviations(member)[: self.widths[member]]

    def covariance(self, member: int) -> Tensor:
        return self.moments.covariance(member)[: self.widths[member], : self.widths[member]]

    def cross_covariance(self, member: int) -> Tensor:
        return self.moments.cross_covariance(member)[: self.width, : self.widths[member]]

    def correlation(self, member: int) -> Tensor:
        return self.moments.correlation(member)[: self.width, : self.widths[member]]


MEAN = -1  # the number of the mean of the others, beside the members' own


@dataclass(frozen=True)
class ConsensusFeatures:
    """The mean of the other members' mapped features as a reference, beside those of one member,
    all of one fibre.

    It is `Features`.
    """

    moments: Moments
    member: int
    maps: Mapping[int, GroupMap]
    fibre: slice

    @property
    def width(self) -> int:
        return int(self.fibre.stop - self.fibre.start)

    @property
    def reference(self) -> int:
        return MEAN

    def deviations(self, member: int) -> Tensor:
        """Of the mean's place: the mean deviation of the others."""
        return (
            self._own
            if member != MEAN
            else torch.stack([self._deviation(j) for j in self._placed]).mean(0)
        )

    def covariance(self, member: int) -> Tensor:
        """Of the mean's place: the mean covariance of the others, so that the mean does not shrink
        as members disagree.
        """
        if member != MEAN:
            return self._cut(self.moments.covariance(member))
        return torch.stack(
            [_both(self.maps[j], self._cut(self.moments.covariance(j))) for j in self._placed]
        ).mean(0)

    def cross_covariance(self, member: int) -> Tensor:
        return torch.stack(
            [_rows(self.maps[j], self._cut(self.moments.between(j, member))) for j in self._placed]
        ).mean(0)

    def correlation(self, member: int) -> Tensor:
        found = []
        for j in self._placed:
            cross, norm = (
                _rows(self.maps[j], self._cut(self.moments.between(j, member))),
                torch.outer(self._deviation(j), self._own),
            )
            found.append(torch.where(norm > 1e-12, cross / norm.clamp_min(1e-12), 0.0))
        return torch.stack(found).mean(0)

    @property
    def _placed(self) -> list[int]:
        return [j for j in self.maps if j != self.member]

    @cached_property
    def _own(self) -> Tensor:
        return self.moments.variances[self.member][self.fibre].sqrt()

    def _deviation(self, j: int) -> Tensor:
        own = self.maps[j]
        if own.kind == "permutation":
            return self.moments.variances[j][self.fibre][own.forward].sqrt()
        return _both(own, self._cut(self.moments.covariance(j))).diagonal().clamp_min(0.0).sqrt()

    def _cut(self, matrix: Tensor) -> Tensor:
        return matrix[self.fibre, self.fibre]


def _rows(group_map: GroupMap, matrix: Tensor) -> Tensor:
    """T S."""
    if group_map.kind == "permutation":
        return matrix[group_map.forward.to(matrix.device)]
    return group_map.forward.to(matrix) @ matrix


def _both(group_map: GroupMap, matrix: Tensor) -> Tensor:
    """T S T'."""
    return _rows(group_map, _rows(group_map, matrix).T)
