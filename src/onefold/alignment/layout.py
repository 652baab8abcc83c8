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
    """The layout of every group, by name.

    A group over one other group, which itself has no fibres, is matched together with it. A group
    over parts that stay is matched fibre by fibre. If both occur at once, or the group is very
    wide, one map serves all fibres, which is always sound.
    """
    groups = {group.name: group for group in spec.groups}
    by_name = {}
    for group in spec.groups:
        count = math.prod(fibre_shape(spec, group))
        moving = [name for name in group.over if name in groups]
        alone = not moving or (len(group.over) == 1 and not groups[moving[0]].over)
        if group.over and alone and len(group.over) == 1 and count * group.size <= WIDEST:
            by_name[group.name] = Layout(group, count, moving[0] if moving else None, apart=True)
        else:
            by_name[group.name] = Layout(group)
    return by_name
