"""What a matcher is, and the registry that a decorator fills."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from onefold.alignment.views import Features
from onefold.registry import Registry
from onefold.symmetry import GroupMap


@dataclass(frozen=True)
class Match:
    """What a matcher found for one group and one member.

    map: takes the member's features to the reference's. scores (C,): for permutations the correlation of each matched pair, in the
    reference's order; for dense maps the canonical correlations, descending. condition: condition number of the map.
    """

    map: GroupMap
    scores: Tensor
    condition: float = 1.0


@dataclass(frozen=True)
class Matcher(ABC):
    """Base of all matchers: a frozen dataclass whose fields are its settings.

    dense: gives matrices rather than permutations, so that it serves only groups with `Group.dense`; others get a rotation where they take one, else
    a permutation. exact: of a dense matcher, that it gives no map that changes a member's function. covariances: needs whole covariance matrices of each member, not only variances. probe: where it reads features by default.
    """

    dense: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    covariances: ClassVar[bool] = False
    probe: ClassVar[str] = "post"

    @abstractmethod
    def match(self, moments: Features, member: int) -> Match:
        """Map `member` to `moments.reference`. Raises AlignmentError where the moments do not allow it."""


matchers: Registry[type[Matcher]] = Registry("matcher")
