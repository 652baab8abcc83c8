"""A SymmetrySpec as the rows and columns of a picture (report/lanes.py): blocks that repeat are
shown once, so that deep networks stay readable.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from onefold.report.lanes import LABELLED, Block, Lane, Lanes
from onefold.symmetry.axes import Group
from onefold.symmetry.spec import SymmetrySpec

PARTS = {
    "producer": "makes",
    "consumer": "reads",
    "depthwise": "scales",
    "table": "table",
    "other": "other",
}  # all other roles are "beside"
FOLDED_FROM = 40  # tensors from which blocks that repeat are shown once
ROWS = 36
STAGES = 10
NUMBERED = re.compile(r"\D*\d+")  # "3", "layer3": a part of a name that may count blocks

Mark = tuple[str, int, str]  # a tensor, its axis, the group's role


@dataclass
class _Row:
    """Groups that stand alike in every block of a run, and the columns they stand on."""

    groups: list[Group]
    marks: dict[str, list[str]] = field(default_factory=dict)  # column -> parts
    spans: list[tuple[int, int]] = field(
        default_factory=list
    )  # of groups that share the row without standing alike

    def span(self, order: dict[str, int]) -> tuple[int, int]:
        places = [order[column] for column in self.marks]
        return min(places), max(places)


def lanes_of(spec: SymmetrySpec) -> Lanes:
    """The picture of all groups of a network.

    Columns are tensors in the order of their use, or layers where there are too many.
    """
    second = {name for names in spec.tied for name in names[1:]}
    live = {slot.tensor for group in spec.groups for slot in group.slots}
    tensors = [
        name for name in spec.axes if name not in second and (name in live or name in spec.frozen)
    ]
    fold = _Fold(spec, tensors) if len(tensors) > FOLDED_FROM else _Fold(spec, tensors, levels=0)
    columns = list(dict.fromkeys(fold.shown[name] for name in tensors))
    rows = _rows(spec, fold)
    layered = len(columns) > LABELLED
    if layered:
        columns = list(dict.fromkeys(map(_layer, columns)))
        for row in rows:
            row.marks = _merged(row.marks)
    order = {name: k for k, name in enumerate(columns)}
    rows = sorted((row for row in rows if row.marks), key=lambda row: row.span(order)[0])
    shown, left_out = _fitting(rows, order, spec)
    blocks = _blocks(fold, order, layered)
    if len(columns) > LABELLED and not blocks:
        blocks = _stages(columns)
    still = {fold.shown[name] for name in tensors if name in spec.frozen}
    still = (
        {_layer(name) for name in still} - {name for row in rows for name in row.marks}
        if layered
        else still
    )
    return Lanes(
        columns=tuple(_names(columns, fold)),
        lanes=tuple(_lane(row, order) for row in shown),
        blocks=tuple(blocks),
        still=tuple(sorted(order[name] for name in still if name in order)),
        left_out=left_out,
    )


def kind_of(group: Group) -> str:
    """The class of maps that tells most about a group, as in the picture's legend."""
    if group.over:
        return "indexed"
    if group.maps & {"orthogonal", "orthogonal_mean", "invertible"}:
        return "dense"
    return "folded" if group.folded else "permutation"


class _Fold:
    """Runs of consecutive blocks in which all groups stand alike: the first block is shown, the
    others are drawn onto it.

    shown: tensor -> the tensor whose column it is drawn in. same: group -> the group of the first
    block that it is drawn with. runs: the tensors of the first block, with the names of the first
    and last block and their number.
    """

    def __init__(self, spec: SymmetrySpec, tensors: Sequence[str], levels: int = 6) -> None:
        self.shown = {name: name for name in tensors}
        self.same: dict[str, str] = {}
        self.runs: list[tuple[list[str], str, str, int]] = []
        self._groups = {group.name: group for group in spec.groups}
        self._marks: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
        for group in spec.groups:
            for slot in group.slots:
                self._marks[slot.tensor].append((slot.axis, slot.role, group.name))
        self._frozen = spec.frozen
        rest = list(tensors)
        for level in range(levels):
            rest = self._fold(rest, level)

    def _fold(self, tensors: list[str], level: int) -> list[str]:
        """One level of names: "layers.3" is at level 1.

        Returns the tensors that are still to be folded at deeper levels.
        """
        blocks: list[tuple[str, list[str]]] = []
        for name in tensors:
            parts = name.split(".")
            block = (
                ".".join(parts[: level + 1])
                if len(parts) > level + 1 and NUMBERED.fullmatch(parts[level])
                else ""
            )
            if blocks and block and blocks[-1][0] == block:
                blocks[-1][1].append(name)
            else:
                blocks.append((block, [name]))
        rest: list[str] = []
        at = 0
        while at < len(blocks):
            block, own = blocks[at]
            seen = self._signature(block, own)
            end = at + 1
            while block and len(own) > 2 and end < len(blocks) and _siblings(block, blocks[end][0]):
                other = self._signature(*blocks[end])
                if other[0] != seen[0]:
                    break
                for mine, theirs in zip(own, blocks[end][1], strict=True):
                    self.shown[theirs] = mine
                self.same.update(zip(other[1], seen[1], strict=True))
                end += 1
            if end > at + 1:
                self.runs.append((own, block, blocks[end - 1][0], end - at))
            else:
                rest += own
            at = end
        return rest

    def _signature(self, block: str, own: list[str]) -> tuple[object, list[str]]:
        """What must agree for two blocks to be drawn as one, and the groups that live in this block
        alone, in order.
        """
        inside = set(own)
        local: list[str] = []
        found: list[object] = []
        for name in own:
            marks: list[object] = []
            for axis, role, group in self._marks[name]:
                if group not in local and all(
                    slot.tensor in inside for slot in self._groups[group].slots
                ):
                    local.append(group)
                marks.append((axis, role, local.index(group) if group in local else group))
            found.append((name.removeprefix(block), marks, name in self._frozen))
        return (
            found,
            [(self._groups[name].size, kind_of(self._groups[name])) for name in local],
        ), local


def _siblings(block: str, other: str) -> bool:
    """Whether two blocks differ in their number alone."""
    return bool(other) and re.sub(r"\d+$", "", block) == re.sub(r"\d+$", "", other)


def _rows(spec: SymmetrySpec, fold: _Fold) -> list[_Row]:
    rows: dict[str, _Row] = {}
    for group in spec.groups:
        row = rows.setdefault(fold.same.get(group.name, group.name), _Row([]))
        row.groups.append(group)
        for slot in group.slots:
            part, parts = (
                PARTS.get(slot.role, "beside"),
                row.marks.setdefault(fold.shown[slot.tensor], []),
            )
            if part not in parts:
                parts.append(part)
    return list(rows.values())


def _layer(tensor: str) -> str:
    """The layer that a tensor belongs to."""
    return tensor.rpartition(".")[0] or tensor


def _merged(marks: dict[str, list[str]]) -> dict[str, list[str]]:
    """The same marks by layer; a layer's bias says nothing beside its weight."""
    merged: dict[str, list[str]] = defaultdict(list)
    for tensor, parts in marks.items():
        merged[_layer(tensor)] += [part for part in parts if part not in merged[_layer(tensor)]]
    return {
        layer: [part for part in parts if part != "beside" or len(parts) == 1]
        for layer, parts in merged.items()
    }


def _fitting(rows: list[_Row], order: dict[str, int], spec: SymmetrySpec) -> tuple[list[_Row], str]:
    """At most ROWS rows: short ones that do not overlap share a row, and of what is still too much
    the largest are shown.
    """
    if len(rows) <= ROWS:
        return rows, ""
    packed: list[_Row] = []
    ends: list[int] = []
    for row in rows:  # sorted by where they begin
        first, last = row.span(order)
        kind = kind_of(row.groups[0])
        place = next(
            (
                k
                for k, end in enumerate(ends)
                if end < first and kind_of(packed[k].groups[0]) == kind
            ),
            None,
        )
        if place is None:
            place = len(packed)
            packed.append(_Row([]))
            ends.append(last)
        packed[place].groups += row.groups
        packed[place].marks |= row.marks
        packed[place].spans.append((first, last))
        ends[place] = last
    if len(packed) <= ROWS:
        return packed, "Groups that share a row have nothing in common but the class of their maps."
    sizes = {name: math.prod(term.size for term in axes) for name, axes in spec.axes.items()}
    weights = {
        id(row): sum(sizes[slot.tensor] for group in row.groups for slot in group.slots)
        for row in packed
    }
    kept = {id(row) for row in sorted(packed, key=lambda row: -weights[id(row)])[:ROWS]}
    count = sum(len(row.groups) for row in packed if id(row) not in kept)
    return [
        row for row in packed if id(row) in kept
    ], f"Not shown: {count} groups that stand on fewer numbers."


def _lane(row: _Row, order: dict[str, int]) -> Lane:
    names, sizes = (
        [group.name for group in row.groups],
        sorted({group.size for group in row.groups}),
    )
    name = (
        names[0]
        if len(names) == 1
        else f"{', '.join(names[:2])}{'…' if len(names) > 2 else ''} ({len(names)})"
    )
    over = row.groups[0].over
    features = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    marks = tuple((order[column], part) for column, parts in row.marks.items() for part in parts)
    return Lane(
        name,
        f"{features} each" if over else features,
        kind_of(row.groups[0]),
        tuple(sorted(marks)),
        tuple(row.spans),
    )


def _blocks(fold: _Fold, order: dict[str, int], layered: bool) -> list[Block]:
    found = []
    for tensors, first, last, count in fold.runs:
        places = sorted({order[_layer(name) if layered else name] for name in tensors})
        number = re.search(r"\d+$", last)
        found.append(
            Block(
                f"{first} to {number[0] if number else last}, {count} alike", places[0], places[-1]
            )
        )
    return sorted(found, key=lambda block: block.first)


def _stages(columns: Sequence[str]) -> list[Block]:
    """Runs of layers whose names begin alike: by as many parts of their names as leave at most
    STAGES of them.
    """
    best: list[Block] = []
    for depth in (1, 2, 3):
        found: list[Block] = []
        for k, name in enumerate(columns):
            stage = ".".join(name.split(".")[:depth])
            if found and found[-1].name == stage:
                found[-1] = Block(stage, found[-1].first, k)
            else:
                found.append(Block(stage, k, k))
        found = [block for block in found if block.last > block.first]
        if len(found) <= STAGES:
            best = found
    return best


def _names(columns: Sequence[str], fold: _Fold) -> Iterable[str]:
    """Short names of columns: without what all share, without "weight", and inside a block that is
    named above without its name.
    """
    inside = {
        name: f"{block}."
        for tensors, block, _, _ in fold.runs
        for name in (*tensors, *map(_layer, tensors))
    }
    stem = _common(columns)
    for name in columns:
        short = name.removeprefix(inside.get(name, stem))
        yield short.removesuffix(".weight") or name


def _common(names: Sequence[str]) -> str:
    """The dotted beginning that all names share."""
    first, *others = [name.split(".")[:-1] for name in names]
    shared = next(
        (k for k, part in enumerate(first) if any(other[k : k + 1] != [part] for other in others)),
        len(first),
    )
    return "".join(f"{part}." for part in first[:shared])
