"""Which groups take a map of their own for each fibre (each attention head, each group of
channels), and which of them share their numbering.

Fibres are numbered by an index: a group of its own (heads that may change places) or a part that
stays. All groups over one index move with it, so that they are matched together: head i of the
reference with head j of a member, wherever queries, keys and values agree best.
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
    """How a group's features are laid out: `fibres` blocks of `group.size`, numbered by `index` (a
    group's name) or in fixed places (None).
    """

    group: Group
    fibres: int = 1
    index: str | None = None
    apart: bool = False  # whether each fibre has a map of its own

    @property
    def width(self) -> int:
        """Features of all fibres together."""
        return self.fibres * self.group.size


def layouts(spec: SymmetrySpec) -> dict[str, Layout]:
    """The layout of every group, by name.

    A group over one other group, which itself has no fibres, is matched together with it; over
    parts that stay, fibre by fibre. Where both occur at once, or the group is very wide, one map
    serves all fibres, which is always sound.
    """
    groups = {group.name: group for group in spec.groups}
    found = {}
    for group in spec.groups:
        count = math.prod(fibre_shape(spec, group))
        moving = [name for name in group.over if name in groups]
        alone = not moving or (len(group.over) == 1 and not groups[moving[0]].over)
        if group.over and alone and len(group.over) == 1 and count * group.size <= WIDEST:
            found[group.name] = Layout(group, count, moving[0] if moving else None, apart=True)
        else:
            found[group.name] = Layout(group)
    return found
