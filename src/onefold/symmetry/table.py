"""A SymmetrySpec as text: a line for each group, then what covers how much, what is frozen and why,
and operators without a rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from onefold.symmetry.axes import MAP_CLASSES, Axes, FeatureSpace, Fixed, Group, Live, Term

# What a class of maps includes, which then goes without saying.
_INCLUDES = {
    "invertible": ("permutation", "scale", "sign", "orthogonal", "orthogonal_mean"),
    "orthogonal": ("permutation", "sign", "orthogonal_mean"),
    "orthogonal_mean": ("permutation",),
}
_SHOWN = 4


class Described(Protocol):
    """What the table shows of a `SymmetrySpec`."""

    @property
    def groups(self) -> tuple[Group, ...]: ...
    @property
    def axes(self) -> Mapping[str, Axes]: ...
    @property
    def nodes(self) -> Mapping[str, Axes]: ...
    @property
    def frozen(self) -> Mapping[str, str]: ...
    @property
    def unknown(self) -> Mapping[str, int]: ...
    @property
    def spaces(self) -> tuple[FeatureSpace, ...]: ...
    @property
    def coverage(self) -> float: ...
    @property
    def parameters(self) -> int: ...


def table_of(spec: Described) -> str:
    """The whole table.

    Columns: the group, its size, what its map may differ along, its widest classes of maps, whether
    a dense map can be written into the weights, the first node where its features are read, and its
    tensors with the axis it stands on.
    """
    head = ("group", "size", "a map per", "maps", "dense", "read at", "tensors")
    sizes = _sizes(spec)
    rows = [head, *(_row(group, sizes) for group in spec.groups)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(head) - 1)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if k == 1 else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    lines.append(
        f"{len(spec.groups)} groups cover {100 * spec.coverage:.1f} % of {spec.parameters:,}"
        " parameters."
    )
    moving = sum(bool(space.groups) for space in spec.spaces)
    lines.append(f"{moving} of {len(spec.spaces)} feature spaces between layers can move.")
    for reason in dict.fromkeys(space.reason for space in spec.spaces if not space.groups):
        lines.append(
            f"feature spaces that stay ({reason}):"
            f" {_few([s.node for s in spec.spaces if not s.groups and s.reason == reason])}"
        )
    for reason in dict.fromkeys(spec.frozen.values()):
        lines.append(
            f"frozen ({reason}):"
            f" {_few([name for name, why in spec.frozen.items() if why == reason])}"
        )
    lines += [
        f"unknown operator: {name}, met {count} times; what reaches it is frozen"
        for name, count in spec.unknown.items()
    ]
    return "\n".join(lines)


def _row(group: Group, sizes: dict[str, int]) -> tuple[str, ...]:
    implied = {name for kind in group.maps for name in _INCLUDES.get(kind, ())}
    maps = ", ".join(name for name in MAP_CLASSES if name in group.maps and name not in implied)
    wider = [
        name
        for name in MAP_CLASSES
        if name in group.folded
        and not any(name in _INCLUDES.get(kind, ()) for kind in group.folded)
    ]
    maps += f" ({', '.join(wider)} once scales are folded)" if wider else ""
    along = ", ".join(
        name if name.startswith("g") else f"each of {sizes[name]}" for name in group.over
    )
    read = (
        group.probes[0].node + (f" +{len(group.probes) - 1}" if len(group.probes) > 1 else "")
        if group.probes
        else ""
    )
    tensors = _few([f"{slot.tensor}[{slot.axis}]" for slot in group.slots])
    return (group.name, str(group.size), along, maps, "yes" if group.dense else "no", read, tensors)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (
        f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    )


def _sizes(spec: Described) -> dict[str, int]:
    """How many coordinates every part of an axis has, by name."""
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
