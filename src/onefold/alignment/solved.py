"""What was found for one group, whichever way it was solved."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from onefold.alignment.matchers import Matcher, matchers
from onefold.symmetry import GroupMap


@dataclass(frozen=True)
class Solved:
    """One group: a map and scores (K, C) for each member, the condition numbers, which matcher it was and, if not the one asked for, why.

    still: in how many fibres the features of each member never vary, so that there is nothing to match; () where they were not read.
    """

    maps: tuple[GroupMap, ...]
    scores: Tensor
    conditions: tuple[float, ...]
    matcher: str
    fallback: str = ""
    still: tuple[int, ...] = ()


def name_of(matcher: Matcher | type[Matcher]) -> str:
    """The name that a matcher is registered by, or its class's."""
    kind = matcher if isinstance(matcher, type) else type(matcher)
    return next((entry.name for entry in matchers if entry.value is kind), kind.__name__.lower())
