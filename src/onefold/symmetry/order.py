"""Which maps concern a tensor, and in which order they act."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from onefold.symmetry.axes import Axes, Group, live_groups
from onefold.symmetry.maps import GroupMap
from onefold.symmetry.spec import SymmetrySpec


def concerned(spec: SymmetrySpec, maps: Mapping[str, GroupMap], axes: Axes) -> dict[str, GroupMap]:
    """The maps of the groups on these axes, and of those that number their fibres."""
    found: dict[str, GroupMap] = {}
    names = [name for axis in axes for name in live_groups(axis)]
    while names:
        name = names.pop()
        if name in maps and name not in found:
            found[name] = maps[name]
            names += spec.group(name).over
    return found


def in_turn(spec: SymmetrySpec, maps: Mapping[str, GroupMap]) -> dict[str, tuple[int, Group]]:
    """The groups with a map, each with its turn: before the groups that number its fibres.

    Fibres are numbered as before any map.
    """
    over = {name: set(spec.group(name).over) - {name} for name in maps}
    dependants = Counter(name for others in over.values() for name in others)
    order: list[str] = []
    waiting = dict.fromkeys(group.name for group in spec.groups if group.name in over)
    while waiting:
        ready = [name for name in waiting if not dependants[name]] or list(waiting)
        order += ready
        for name in ready:
            dependants.subtract(over[name])
            del waiting[name]
    return {name: (turn, spec.group(name)) for turn, name in enumerate(order)}
