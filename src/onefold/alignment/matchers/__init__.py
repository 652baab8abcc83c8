"""Matchers: each solves one group, from its moments or from weights, one member against the
reference or all together.

One matcher per file; importing it files it.
"""

from onefold.alignment.matchers import (
    cca,
    identity,
    permutation,
    procrustes,
    rotation,
    transport,
    weight_matching,
    zipit,
)
from onefold.alignment.matchers.base import JointMatcher, Match, Matcher, StateMatcher, matchers

__all__ = [
    "JointMatcher",
    "Match",
    "Matcher",
    "StateMatcher",
    "cca",
    "identity",
    "matchers",
    "permutation",
    "procrustes",
    "rotation",
    "transport",
    "weight_matching",
    "zipit",
]
