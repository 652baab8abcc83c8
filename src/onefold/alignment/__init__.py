"""How one network's features map onto another's: moments, matchers, and the Alignment they make."""

from onefold.alignment.alignment import Alignment, Target
from onefold.alignment.compute import align, solve_gathered
from onefold.alignment.gather import Gathered, gather
from onefold.alignment.matchers import Match, Matcher, matchers
from onefold.alignment.members import check_networks
from onefold.alignment.moments import Moments
from onefold.alignment.structure import trace_on

__all__ = [
    "Alignment",
    "Gathered",
    "Match",
    "Matcher",
    "Moments",
    "Target",
    "align",
    "check_networks",
    "gather",
    "matchers",
    "solve_gathered",
    "trace_on",
]
