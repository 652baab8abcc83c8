"""Second moments of a group's features in the reference and in one member, as matchers read them.

They are of the whole group, or of one fibre of each network.
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
    def width(self) -> int:
        """C, the number of features of the reference."""
        ...

    @property
    def reference(self) -> int | None:
        """The number of the reference."""
        ...

    def deviations(self, member: int) -> Tensor:
        """Standard deviations (C,) of a member's features."""
        ...

    def covariance(self, member: int) -> Tensor:
        """Covariance (C, C) of a member's features."""
        ...

    def cross_covariance(self, member: int) -> Tensor:
        """Covariance (C, C) of the reference's features (rows) with the member's (columns)."""
        ...

    def correlation(self, member: int) -> Tensor:
        """Correlations (C, C) of the reference's features (rows) with the member's (columns)."""
        ...


TIE = 1e-5  # of a correlation: the most that likeness of deviations may decide


def likeness(moments: Features, member: int) -> Tensor:
    """Correlations (C, C) of the features, plus TIE times the likeness of their deviations s.

        corr_ij + TIE * 2 s_i s_j / (s_i^2 + s_j^2)

    Rows are the reference's features, columns the member's. Features that are active on the same
    few examples are correlated perfectly with one another, so that rounding would choose among
    them.
    """
    assert moments.reference is not None
    ours, theirs = moments.deviations(moments.reference)[:, None], moments.deviations(member)
    sums = ours.square() + theirs.square()
    alike = torch.where(sums > 0, 2 * ours * theirs / sums.clamp_min(1e-300), 1.0)
    return moments.correlation(member) + TIE * alike


@dataclass(frozen=True)
class MemberPair:
    """The reference's and one member's features of a group, to be cut into blocks by fibres.

    Attributes:
        moments: of (fibres x C) features, fibre by fibre.
        member: the number of the member.
        fibres: how many there are.
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
    """One fibre of the reference and one of the member, as Features.

    Attributes:
        pair: the features of all fibres.
        ours: the fibre of the reference.
        theirs: the fibre of the member.
    """

    pair: MemberPair
    ours: int
    theirs: int

    @property
    def width(self) -> int:
        """The features of one fibre."""
        return self.pair.moments.width // self.pair.fibres

    @property
    def reference(self) -> int | None:
        """The number of the reference."""
        return self.pair.moments.reference

    def deviations(self, member: int) -> Tensor:
        """Standard deviations (C,) of the fibre of the reference or of the member."""
        fibre = self.ours if member == self.reference else self.theirs
        return self.pair.moments.deviations(member)[fibre * self.width : (fibre + 1) * self.width]

    def covariance(self, member: int) -> Tensor:
        """Covariance (C, C) of the fibre of the reference or of the member."""
        if member == self.reference:
            return self._cut(self.pair._own, self.ours, self.ours)
        return self._cut(self.pair._other, self.theirs, self.theirs)

    def cross_covariance(self, member: int) -> Tensor:
        """Covariance (C, C) of the reference's fibre (rows) with the member's (columns)."""
        return self._cut(self.pair._cross, self.ours, self.theirs)

    def correlation(self, member: int) -> Tensor:
        """Correlations (C, C) of the reference's fibre (rows) with the member's (columns)."""
        return self._cut(self.pair._correlation, self.ours, self.theirs)

    def _cut(self, matrix: Tensor, row: int, column: int) -> Tensor:
        c = self.width
        return matrix[row * c : (row + 1) * c, column * c : (column + 1) * c]


@dataclass(frozen=True)
class PooledFeatures:
    """Several nodes on which one and the same map acts, as queries and keys under a rotation.

    Each is scaled to unit mean variance, and the moments are averaged.

    Attributes:
        parts: the features of each node, of one width.
    """

    parts: Sequence[Features]

    @property
    def width(self) -> int:
        """The features of each node."""
        return self.parts[0].width

    @property
    def reference(self) -> int | None:
        """The number of the reference."""
        return self.parts[0].reference

    def deviations(self, member: int) -> Tensor:
        """The mean (C,) of the nodes' scaled deviations."""
        deviations = [part.deviations(member) for part in self.parts]
        scaled = [d / d.square().mean().sqrt().clamp_min(1e-150) for d in deviations]
        return torch.stack(scaled).mean(0)

    def covariance(self, member: int) -> Tensor:
        """The mean (C, C) of the nodes' scaled covariances."""
        return torch.stack(
            [part.covariance(member) / self._variance(part, member) for part in self.parts]
        ).mean(0)

    def cross_covariance(self, member: int) -> Tensor:
        """The mean (C, C) of the nodes' scaled cross-covariances."""
        assert self.reference is not None
        scaled = []
        for part in self.parts:
            variances = self._variance(part, self.reference) * self._variance(part, member)
            scaled.append(part.cross_covariance(member) / variances.sqrt())
        return torch.stack(scaled).mean(0)

    def correlation(self, member: int) -> Tensor:
        """The mean (C, C) of the nodes' correlations."""
        return torch.stack([part.correlation(member) for part in self.parts]).mean(0)

    @staticmethod
    def _variance(part: Features, member: int) -> Tensor:
        return part.covariance(member).diagonal().mean().clamp_min(1e-300)


@dataclass(frozen=True)
class CroppedFeatures:
    """The features of a group, C_r of the reference and C_k of a member, in moments of the widest.

    It is `Features`.

    Attributes:
        moments: of the widest member's width; narrower features are padded with zeros.
        widths: how many features each member has.
    """

    moments: Moments
    widths: Sequence[int]

    @property
    def width(self) -> int:
        """C_r, the features of the reference."""
        assert self.reference is not None
        return self.widths[self.reference]

    @property
    def reference(self) -> int | None:
        """The number of the reference."""
        return self.moments.reference

    def deviations(self, member: int) -> Tensor:
        """Standard deviations (C_k,)."""
        return self.moments.deviations(member)[: self.widths[member]]

    def covariance(self, member: int) -> Tensor:
        """Covariance (C_k, C_k)."""
        return self.moments.covariance(member)[: self.widths[member], : self.widths[member]]

    def cross_covariance(self, member: int) -> Tensor:
        """Covariance (C_r, C_k) of the reference's features with the member's."""
        return self.moments.cross_covariance(member)[: self.width, : self.widths[member]]

    def correlation(self, member: int) -> Tensor:
        """Correlations (C_r, C_k) of the reference's features with the member's."""
        return self.moments.correlation(member)[: self.width, : self.widths[member]]


MEAN = -1  # the number of the mean of the others; members have the numbers 0 to K - 1


@dataclass(frozen=True)
class ConsensusFeatures:
    """The mean of the other members' mapped features as the reference of one member.

    It is `Features`. All features are of one fibre.

    Attributes:
        moments: of all pairs of members.
        member: the member that is matched.
        maps: member -> its map so far, for those that have one.
        fibre: the columns of the fibre.
    """

    moments: Moments
    member: int
    maps: Mapping[int, GroupMap]
    fibre: slice

    @property
    def width(self) -> int:
        """The features of the fibre."""
        return int(self.fibre.stop - self.fibre.start)

    @property
    def reference(self) -> int:
        """MEAN: the reference is the mean of the other members."""
        return MEAN

    def deviations(self, member: int) -> Tensor:
        """Standard deviations (C,); for MEAN the mean deviation of the others."""
        if member != MEAN:
            return self._member_deviation
        return torch.stack([self._mapped_deviation(j) for j in self._others]).mean(0)

    def covariance(self, member: int) -> Tensor:
        """Covariance (C, C); for MEAN the mean covariance of the others.

        It is not the covariance of the mean, which would shrink as members disagree.
        """
        if member != MEAN:
            return self._cut(self.moments.covariance(member))
        return torch.stack(
            [_both(self.maps[j], self._cut(self.moments.covariance(j))) for j in self._others]
        ).mean(0)

    def cross_covariance(self, member: int) -> Tensor:
        """The mean covariance (C, C) of the others' mapped features with the member's."""
        return torch.stack(
            [_rows(self.maps[j], self._cut(self.moments.between(j, member))) for j in self._others]
        ).mean(0)

    def correlation(self, member: int) -> Tensor:
        """The mean correlations (C, C) of the others' mapped features with the member's."""
        correlations = []
        for j in self._others:
            cross = _rows(self.maps[j], self._cut(self.moments.between(j, member)))
            norm = torch.outer(self._mapped_deviation(j), self._member_deviation)
            correlations.append(torch.where(norm > 1e-12, cross / norm.clamp_min(1e-12), 0.0))
        return torch.stack(correlations).mean(0)

    @property
    def _others(self) -> list[int]:
        return [j for j in self.maps if j != self.member]

    @cached_property
    def _member_deviation(self) -> Tensor:
        return self.moments.variances[self.member][self.fibre].sqrt()

    def _mapped_deviation(self, j: int) -> Tensor:
        group_map = self.maps[j]
        if group_map.kind == "permutation":
            return self.moments.variances[j][self.fibre][group_map.forward].sqrt()
        covariance = _both(group_map, self._cut(self.moments.covariance(j)))
        return covariance.diagonal().clamp_min(0.0).sqrt()

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
