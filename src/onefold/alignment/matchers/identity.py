"""Identity: every member stays in its own basis.

It is the baseline of every matcher, and the right choice for members that share an origin.
"""

from __future__ import annotations

from dataclasses import dataclass

from onefold.alignment.features import Features
from onefold.alignment.matchers.base import Match, Matcher, feature_matchers
from onefold.symmetry import GroupMap


@feature_matchers.register("identity")
@dataclass(frozen=True)
class Identity(Matcher):
    """Every member in its own basis, with the agreement of its features as scores."""

    def match(self, moments: Features, member: int) -> Match:
        """The identity, with the correlations of features of one number as scores."""
        return Match(
            GroupMap.identity(moments.width), moments.correlation(member).diagonal().clone()
        )
