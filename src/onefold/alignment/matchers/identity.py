"""No map at all: every member keeps its own basis.

The honest baseline of every matcher, and right for members that share an origin.
"""

from __future__ import annotations

from dataclasses import dataclass

from onefold.alignment.features import Features
from onefold.alignment.matchers.base import Match, Matcher, matchers
from onefold.symmetry import GroupMap


@matchers.register("identity")
@dataclass(frozen=True)
class Identity(Matcher):
    """Leaves every member in its own basis and reports how well its features agree with the
    reference's.
    """

    def match(self, moments: Features, member: int) -> Match:
        return Match(
            GroupMap.identity(moments.width), moments.correlation(member).diagonal().clone()
        )
