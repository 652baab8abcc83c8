"""A SymmetrySpec as text: its groups, how much they cover, what is frozen and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from onefold.symmetry.axes import MAP_CLASSES, Axes, FeatureSpace, Fixed, Group, Live, Term

# Class of maps -> the classes that it includes, which are then not shown.
_INCLUDES = {
    "invertible": ("permutation", "scale", "sign", "orthogonal", "orthogonal_mean"),
    "orthogonal": ("permutation", "sign", "orthogonal_mean"),
    "orthogonal_mean": ("permutation",),
}
_SHOWN = 4


class Described(Protocol):
    """The part of a `SymmetrySpec` that the table shows."""

    @property
    def groups(self) -> tuple[Group, ...]:
        """See `SymmetrySpec`."""

    @property
    def axes(self) -> Mapping[str, Axes]:
        """See `SymmetrySpec`."""

    @property
    def nodes(self) -> Mapping[str, Axes]:
        """See `SymmetrySpec`."""

    @property
    def frozen(self) -> Mapping[str, str]:
        """See `SymmetrySpec`."""

    @property
    def unknown(self) -> Mapping[str, int]:
        """See `SymmetrySpec`."""

    @property
    def spaces(self) -> tuple[FeatureSpace, ...]:
        """See `SymmetrySpec`."""

    @property
    def coverage(self) -> float:
        """See `SymmetrySpec`."""

    @property
    def parameters(self) -> int:
        """See `SymmetrySpec`."""


HEAD = ("group", "size", "a map per", "maps", "dense", "read at", "tensors")


def table_of(spec: Described) -> str:
    """The whole table.

    A line for each group has these columns: the group, its size, the index atoms that its map may
    differ along, its widest classes of maps, whether a dense map can be written into the weights,
    the first node at which its features are read, and its tensors with the axis that holds it. Then
    come coverage, feature spaces and tensors that stay, and operators without a rule.
    """
    rows = [HEAD, *rows_of(spec)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(HEAD) - 1)]
    lines = []
    for row in rows:
        padded = enumerate(zip(row, widths, strict=False))
        cells = [cell.rjust(w) if k == 1 else cell.ljust(w) for k, (cell, w) in padded]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return "\n".join([*lines, *facts_of(spec)])


def rows_of(spec: Described) -> list[tuple[str, ...]]:
    """A row of the table for each group, without its head."""
    sizes = _sizes(spec)
    return [_row(group, sizes) for group in spec.groups]


def facts_of(spec: Described) -> list[str]:
    """What stands below the table, line by line."""
    lines = [
        f"{len(spec.groups)} groups cover {100 * spec.coverage:.1f} % of {spec.parameters:,}"
        " parameters."
    ]
    moving = sum(bool(space.groups) for space in spec.spaces)
    lines.append(f"{moving} of {len(spec.spaces)} feature spaces between layers can move.")
    staying = [space for space in spec.spaces if not space.groups]
    for reason in dict.fromkeys(space.reason for space in staying):
        nodes = [space.node for space in staying if space.reason == reason]
        lines.append(f"feature spaces that stay ({reason}): {_few(nodes)}")
    for reason in dict.fromkeys(spec.frozen.values()):
        names = [name for name, why in spec.frozen.items() if why == reason]
        lines.append(f"frozen ({reason}): {_few(names)}")
    lines += [
        f"unknown operator: {name}, met {count} times; what reaches it is frozen"
        for name, count in spec.unknown.items()
    ]
    return lines


def _row(group: Group, sizes: dict[str, int]) -> tuple[str, ...]:
    implied = {name for kind in group.maps for name in _INCLUDES.get(kind, ())}
    maps = ", ".join(name for name in MAP_CLASSES if name in group.maps and name not in implied)
    implied_folded = {name for kind in group.folded for name in _INCLUDES.get(kind, ())}
    wider = [n for n in MAP_CLASSES if n in group.folded and n not in implied_folded]
    maps += f" ({', '.join(wider)} once scales are folded)" if wider else ""
    along = [name if name.startswith("g") else f"each of {sizes[name]}" for name in group.over]
    read = group.probes[0].node if group.probes else ""
    read += f" +{len(group.probes) - 1}" if len(group.probes) > 1 else ""
    tensors = _few([f"{slot.tensor}[{slot.axis}]" for slot in group.slots])
    dense = "yes" if group.dense else "no"
    return (group.name, str(group.size), ", ".join(along), maps, dense, read, tensors)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _sizes(spec: Described) -> dict[str, int]:
    """Name of every part of an axis -> number of its coordinates."""
    found: dict[str, int] = {}
    for axes in (*spec.axes.values(), *spec.nodes.values()):
        for term in axes:
            found.update(_parts(term))
    return found


def _parts(term: Term) -> Iterator[tuple[str, int]]:
    if isinstance(term, Live | Fixed):
        yield (term.group if isinstance(term, Live) else term.name), term.size
        return
    for part in term.parts:
        yield from _parts(part)
