"""Matchers: methods that map one member's features to the reference's, one file each."""

from onefold.alignment.matchers.base import (
    JointMatcher,
    Match,
    Matcher,
    StateMatcher,
    feature_matchers,
)
from onefold.alignment.matchers.cca import CCA
from onefold.alignment.matchers.identity import Identity
from onefold.alignment.matchers.permutation import Permutation
from onefold.alignment.matchers.procrustes import Procrustes
from onefold.alignment.matchers.rotation import Rotation
from onefold.alignment.matchers.transport import Transport
from onefold.alignment.matchers.weight_matching import WeightMatching
from onefold.alignment.matchers.zipit import ZipIt

__all__ = [
    "CCA",
    "Identity",
    "JointMatcher",
    "Match",
    "Matcher",
    "Permutation",
    "Procrustes",
    "Rotation",
    "StateMatcher",
    "Transport",
    "WeightMatching",
    "ZipIt",
    "feature_matchers",
]
