"""Solutions: the maps and scores of every group, for all members or for some of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from onefold.alignment.matchers import Matcher, feature_matchers
from onefold.errors import WeightsError
from onefold.symmetry import GroupMap


@dataclass(frozen=True)
class GroupSolution:
    """The solution of one group.

    Attributes:
        maps: one map for each member.
        scores: (K, C), the correlations of each member's matched features, float64.
        conditions: the condition number of each member's map.
        matcher: the name of the matcher that solved the group.
        fallback: why it is not the matcher that was asked for; "" if it is.
        still: the number of fibres in which the features of each member never vary, so that
            nothing can be matched there; () if features were not read.
    """

    maps: tuple[GroupMap, ...]
    scores: Tensor
    conditions: tuple[float, ...]
    matcher: str
    fallback: str = ""
    still: tuple[int, ...] = ()

    def only(self, members: Sequence[int]) -> GroupSolution:
        """The solution of some of the members, by their numbers."""
        return dataclasses.replace(
            self,
            maps=tuple(self.maps[k] for k in members),
            scores=self.scores[list(members)],
            conditions=tuple(self.conditions[k] for k in members),
            still=tuple(self.still[k] for k in members if self.still),
        )

    def to_plain(self) -> dict[str, Any]:
        """Tensors and plain data, for a checkpoint."""
        maps = [{"kind": m.kind, "forward": m.forward, "inverse": m.inverse} for m in self.maps]
        return {**{f.name: getattr(self, f.name) for f in dataclasses.fields(self)}, "maps": maps}

    @staticmethod
    def from_plain(content: Mapping[str, Any]) -> GroupSolution:
        """The inverse of `to_plain`.

        Raises:
            WeightsError: a map is no tensor.
        """
        maps = tuple(
            GroupMap(m["kind"], _tensor(m["forward"]), m["inverse"]) for m in content["maps"]
        )
        return GroupSolution(**{**content, "maps": maps})


Solution = dict[str, GroupSolution]  # by the group's name


def only(solution: Mapping[str, GroupSolution], members: Sequence[int]) -> Solution:
    """The solutions of some of the members."""
    return {name: group.only(members) for name, group in solution.items()}


def joined(parts: Sequence[Mapping[str, GroupSolution]]) -> Solution:
    """The members of all parts, one after the other."""
    return {
        name: dataclasses.replace(
            group,
            maps=tuple(m for part in parts for m in part[name].maps),
            scores=torch.cat([part[name].scores for part in parts]),
            conditions=tuple(c for part in parts for c in part[name].conditions),
            still=tuple(count for part in parts for count in part[name].still),
        )
        for name, group in parts[0].items()
    }


def name_of(matcher: Matcher | type[Matcher]) -> str:
    """The name that a matcher is registered by, or its class's in lower case."""
    kind = matcher if isinstance(matcher, type) else type(matcher)
    return next(
        (entry.name for entry in feature_matchers if entry.value is kind), kind.__name__.lower()
    )


def _tensor(value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise WeightsError("A map in the checkpoint is damaged; remove its folder, and begin anew.")
    return value
