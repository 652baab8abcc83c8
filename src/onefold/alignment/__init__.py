"""How one network's features map onto another's: moments, matchers, and the Alignment they make."""

from onefold.alignment.alignment import Alignment, Target
from onefold.alignment.api import align, solve_gathered
from onefold.alignment.checks import check_networks, in_one_precision
from onefold.alignment.matchers import JointMatcher, Match, Matcher, StateMatcher, matchers
from onefold.alignment.moments import Moments
from onefold.alignment.problem import Gathered, gather
from onefold.alignment.structure import trace_on
from onefold.alignment.widths import differ_in_width

__all__ = [
    "Alignment",
    "Gathered",
    "JointMatcher",
    "Match",
    "Matcher",
    "Moments",
    "StateMatcher",
    "Target",
    "align",
    "check_networks",
    "differ_in_width",
    "gather",
    "in_one_precision",
    "matchers",
    "solve_gathered",
    "trace_on",
]
