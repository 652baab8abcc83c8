"""Maps of one network's features onto another's: moments, matchers and the Alignment."""

from onefold.alignment.alignment import Alignment
from onefold.alignment.api import align, as_matcher, solve_problem
from onefold.alignment.checks import check_networks, in_one_precision
from onefold.alignment.matchers import JointMatcher, Match, Matcher, StateMatcher, feature_matchers
from onefold.alignment.moments import Moments
from onefold.alignment.problem import AlignmentProblem, Reading, build_problem
from onefold.alignment.repair_targets import Target, Targets, measure_targets
from onefold.alignment.structure import trace_on, unequal_axes
from onefold.alignment.widths import differ_in_width

__all__ = [
    "Alignment",
    "AlignmentProblem",
    "JointMatcher",
    "Match",
    "Matcher",
    "Moments",
    "Reading",
    "StateMatcher",
    "Target",
    "Targets",
    "align",
    "as_matcher",
    "build_problem",
    "check_networks",
    "differ_in_width",
    "feature_matchers",
    "in_one_precision",
    "measure_targets",
    "solve_problem",
    "trace_on",
    "unequal_axes",
]
