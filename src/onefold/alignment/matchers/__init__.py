"""Matchers: each solves one group from its moments, one member against the reference. One matcher per file; importing it files it."""

from onefold.alignment.matchers import cca, identity, permutation, procrustes, rotation
from onefold.alignment.matchers.base import Match, Matcher, matchers

__all__ = ["Match", "Matcher", "cca", "identity", "matchers", "permutation", "procrustes", "rotation"]
