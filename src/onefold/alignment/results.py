"""What was found for one group, whichever way it was solved."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onefold.alignment.matchers import Matcher, matchers
from onefold.symmetry import GroupMap


@dataclass(frozen=True)
class GroupSolution:
    """One group: a map and scores (K, C) for each member, the condition numbers, which matcher it
    was and, if not the one asked for, why.

    still: in how many fibres the features of each member never vary, so that there is nothing to
    match; () where they were not read.
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


@dataclass(frozen=True)
class Solution:
    """solved: group -> what was found. outputs: node of a layer's output -> the mean and deviation
    (K, channels) of every member, mapped.
    """

    solved: dict[str, GroupSolution]
    outputs: dict[str, tuple[Tensor, Tensor]]

    def only(self, members: Sequence[int]) -> Solution:
        """The same of some of the members."""
        solved = {
            name: dataclasses.replace(
                one,
                maps=tuple(one.maps[k] for k in members),
                scores=one.scores[list(members)],
                conditions=tuple(one.conditions[k] for k in members),
                still=tuple(one.still[k] for k in members if one.still),
            )
            for name, one in self.solved.items()
        }
        return Solution(
            solved,
            {
                node: (mean[list(members)], deviation[list(members)])
                for node, (mean, deviation) in self.outputs.items()
            },
        )


def joined(parts: Sequence[Solution]) -> Solution:
    """The members of all parts, one after the other."""
    solved = {
        name: dataclasses.replace(
            one,
            maps=tuple(m for part in parts for m in part.solved[name].maps),
            scores=torch.cat([part.solved[name].scores for part in parts]),
            conditions=tuple(c for part in parts for c in part.solved[name].conditions),
            still=tuple(count for part in parts for count in part.solved[name].still),
        )
        for name, one in parts[0].solved.items()
    }
    outputs = {
        node: (
            torch.cat([p.outputs[node][0] for p in parts]),
            torch.cat([p.outputs[node][1] for p in parts]),
        )
        for node in parts[0].outputs
    }
    return Solution(solved, outputs)
