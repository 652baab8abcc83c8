"""What a matcher is, and the registry that a decorator fills."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from onefold.alignment.features import Features
from onefold.alignment.moments import Moments
from onefold.errors import AlignmentError
from onefold.registry import Registry
from onefold.symmetry import GroupMap, SymmetrySpec


@dataclass(frozen=True)
class Match:
    """What a matcher found for one group and one member.

    map: takes the member's features to the reference's. scores (C,): for permutations the
    correlation of each matched pair, in the reference's order; for dense maps the canonical
    correlations, descending. condition: condition number of the map.
    """

    map: GroupMap
    scores: Tensor
    condition: float = 1.0


@dataclass(frozen=True)
class Matcher(ABC):
    """Base of all matchers: a frozen dataclass whose fields are its settings.

    dense: gives matrices rather than permutations, so that it serves only groups with
    `Group.dense`; others get a rotation where they take one, else a permutation. exact: of a dense
    matcher, that it gives no map that changes a member's function. rotates: of a dense matcher,
    that groups which take rotations and no other matrix get one; False gives them a permutation.
    inverts: needs more samples than features. covariances: needs whole covariance matrices of each
    member, not only variances. widths: maps between features of unequal numbers, too. probe: where
    it reads features by default.
    """

    dense: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    rotates: ClassVar[bool] = True
    inverts: ClassVar[bool] = False
    covariances: ClassVar[bool] = False
    widths: ClassVar[bool] = False
    probe: ClassVar[str] = "post"

    @abstractmethod
    def match(self, moments: Features, member: int) -> Match:
        """Map `member` to `moments.reference`.

        Raises AlignmentError where the moments do not allow it.
        """


class JointMatcher(Matcher):
    """A matcher that maps all members at once, the reference included, from the moments between all
    of them.

    It serves groups with `Group.dense` and without fibres; others get permutations to the
    reference.
    """

    dense: ClassVar[bool] = True
    rotates: ClassVar[bool] = False
    covariances: ClassVar[bool] = True

    @abstractmethod
    def match_all(self, moments: Moments) -> list[Match]:
        """The map of every member into one common basis. `moments` hold all pairs of members."""

    def match(self, moments: Features, member: int) -> Match:
        """Not for one member alone. Raises AlignmentError."""
        raise AlignmentError(
            f"{type(self).__name__} maps all members at once; use match_all, or onefold.align."
        )


class StateMatcher(Matcher):
    """A matcher that reads the members' weights and no data."""

    @abstractmethod
    def match_states(
        self,
        spec: SymmetrySpec,
        states: Sequence[Mapping[str, Tensor]],
        reference: int | None,
        seed: int,
    ) -> dict[str, tuple[Match, ...]]:
        """Group -> a match for each member.

        `states`: of networks that `spec` describes. reference None: a common basis of all members.

        Maps of groups with fibres are (fibres, C), by the member's numbers.
        """

    def match(self, moments: Features, member: int) -> Match:
        """Not from features. Raises AlignmentError."""
        raise AlignmentError(
            f"{type(self).__name__} reads weights and no features; use match_states, or"
            " onefold.align."
        )


matchers: Registry[type[Matcher]] = Registry("matcher")
