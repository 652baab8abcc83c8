"""Layouts of groups: which take one map for each fibre, and which share the fibres' numbering.

A fibre is an attention head or a group of channels. Fibres are numbered by an index. The index is a
group itself (heads that may change places) or a part that stays. All groups over one index move
with it, so they are matched together: head i of the reference with the head j of a member for which
queries, keys and values agree best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from onefold.symmetry.axes import Group
from onefold.symmetry.maps import fibre_shape
from onefold.symmetry.spec import SymmetrySpec

# fibres times features; wider groups take one map for all of their fibres, whose moments are small
WIDEST = 8192


@dataclass(frozen=True)
class Layout:
    """How a group's features are laid out: `fibres` blocks of `group.size` features.

    Attributes:
        group: the group.
        fibres: the number of blocks.
        index: the name of the group that numbers the blocks; None: they stay in fixed places.
        apart: whether each fibre has its own map.
    """

    group: Group
    fibres: int = 1
    index: str | None = None
    apart: bool = False

    @property
    def width(self) -> int:
        """Features of all fibres together."""
        return self.fibres * self.group.size


def layouts(spec: SymmetrySpec) -> dict[str, Layout]:
    """The layout of every group, by name."""
    return {group.name: layout_of(spec, group) for group in spec.groups}


def layout_of(spec: SymmetrySpec, group: Group) -> Layout:
    """The layout of one group.

    A group over one other group, which itself has no fibres, is matched together with it. A group
    over parts that stay is matched fibre by fibre. If both occur at once, or the group is very
    wide, one map serves all fibres, which is always sound.
    """
    moving = [name for name in group.over if name in spec]
    alone = not moving or (len(group.over) == 1 and not spec.group(moving[0]).over)
    count = math.prod(fibre_shape(spec, group))
    if len(group.over) == 1 and alone and count * group.size <= WIDEST:
        return Layout(group, count, moving[0] if moving else None, apart=True)
    return Layout(group)
