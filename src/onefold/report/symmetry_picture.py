"""A SymmetrySpec as the rows and columns of a picture (lanes.py).

Blocks that repeat are shown once, so that deep networks stay readable.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from onefold.report.lanes import LABELLED, Block, Lane, Lanes
from onefold.report.repeated_blocks import RepeatedBlocks, kind_of
from onefold.symmetry.axes import Group
from onefold.symmetry.spec import SymmetrySpec

PARTS = {  # role of a slot -> part in the picture; all other roles are BESIDE
    "producer": "makes",
    "consumer": "reads",
    "depthwise": "scales",
    "table": "table",
    "other": "other",
}
BESIDE = "beside"
LEVELS = 6  # of names in which blocks that repeat are searched
FOLDED_FROM = 40  # tensors above which blocks that repeat are shown once
ROWS = 36  # rows of the largest picture
STAGES = 10  # named runs of layers of the largest picture


@dataclass
class _Row:
    """Groups that share a row.

    Attributes:
        groups: the groups.
        marks: name of a column -> the parts of its tensor.
        spans: the first and last column of each group, if the groups are not alike.
    """

    groups: list[Group]
    marks: dict[str, list[str]] = field(default_factory=dict)
    spans: list[tuple[int, int]] = field(default_factory=list)

    def span(self, order: dict[str, int]) -> tuple[int, int]:
        """The first and the last column of the row."""
        columns = [order[column] for column in self.marks]
        return min(columns), max(columns)


def lanes_of(spec: SymmetrySpec) -> Lanes:
    """The picture of all groups of a network.

    Columns are tensors in the order of their use, or layers if there are too many.
    """
    second = {name for names in spec.tied for name in names[1:]}
    live = {slot.tensor for group in spec.groups for slot in group.slots}
    tensors = [
        name for name in spec.axes if name not in second and (name in live or name in spec.frozen)
    ]
    repeats = RepeatedBlocks(spec, tensors, LEVELS if len(tensors) > FOLDED_FROM else 0)
    columns = list(dict.fromkeys(repeats.shown[name] for name in tensors))
    rows = _rows(spec, repeats)
    layered = len(columns) > LABELLED
    if layered:
        columns = list(dict.fromkeys(map(_layer, columns)))
        for row in rows:
            row.marks = _merged(row.marks)
    order = {name: k for k, name in enumerate(columns)}
    rows = sorted((row for row in rows if row.marks), key=lambda row: row.span(order)[0])
    shown, left_out = _fitting(rows, order, spec)
    blocks = _blocks(repeats, order, layered)
    if len(columns) > LABELLED and not blocks:
        blocks = _stages(columns)
    still = {repeats.shown[name] for name in tensors if name in spec.frozen}
    if layered:
        still = {_layer(name) for name in still} - {name for row in rows for name in row.marks}
    return Lanes(
        columns=tuple(_names(columns, repeats)),
        lanes=tuple(_lane(row, order) for row in shown),
        blocks=tuple(blocks),
        still=tuple(sorted(order[name] for name in still if name in order)),
        left_out=left_out,
    )


def _rows(spec: SymmetrySpec, repeats: RepeatedBlocks) -> list[_Row]:
    """One row for each group, or for the groups that are drawn onto one."""
    rows: dict[str, _Row] = {}
    for group in spec.groups:
        row = rows.setdefault(repeats.same.get(group.name, group.name), _Row([]))
        row.groups.append(group)
        for slot in group.slots:
            part = PARTS.get(slot.role, BESIDE)
            parts = row.marks.setdefault(repeats.shown[slot.tensor], [])
            if part not in parts:
                parts.append(part)
    return list(rows.values())


def _layer(tensor: str) -> str:
    """The layer that a tensor belongs to."""
    return tensor.rpartition(".")[0] or tensor


def _merged(marks: dict[str, list[str]]) -> dict[str, list[str]]:
    """The marks by layer. The mark of a bias is left out beside that of its weight."""
    merged: dict[str, list[str]] = defaultdict(list)
    for tensor, parts in marks.items():
        merged[_layer(tensor)] += [part for part in parts if part not in merged[_layer(tensor)]]
    return {
        layer: [part for part in parts if part != BESIDE or len(parts) == 1]
        for layer, parts in merged.items()
    }


def _fitting(rows: list[_Row], order: dict[str, int], spec: SymmetrySpec) -> tuple[list[_Row], str]:
    """At most ROWS rows, and a sentence on what they leave out.

    Short rows that do not overlap share one. If there are still too many, the rows of the most
    numbers are shown.
    """
    if len(rows) <= ROWS:
        return rows, ""
    packed = _packed(rows, order)
    if len(packed) <= ROWS:
        return packed, "Groups that share a row have nothing in common but the class of their maps."
    sizes = {name: math.prod(term.size for term in axes) for name, axes in spec.axes.items()}
    numbers = {
        id(row): sum(sizes[slot.tensor] for group in row.groups for slot in group.slots)
        for row in packed
    }
    largest = {id(row) for row in sorted(packed, key=lambda row: -numbers[id(row)])[:ROWS]}
    count = sum(len(row.groups) for row in packed if id(row) not in largest)
    shown = [row for row in packed if id(row) in largest]
    return shown, f"Not shown: {count} groups that stand on fewer numbers."


def _packed(rows: list[_Row], order: dict[str, int]) -> list[_Row]:
    """Rows of one class of maps that do not overlap share one. `rows` are sorted by their start."""
    packed: list[_Row] = []
    ends: list[int] = []
    for row in rows:
        first, last = row.span(order)
        kind = kind_of(row.groups[0])
        free = (k for k, end in enumerate(ends) if end < first)
        k = next((k for k in free if kind_of(packed[k].groups[0]) == kind), len(packed))
        if k == len(packed):
            packed.append(_Row([]))
            ends.append(last)
        packed[k].groups += row.groups
        packed[k].marks |= row.marks
        packed[k].spans.append((first, last))
        ends[k] = last
    return packed


def _lane(row: _Row, order: dict[str, int]) -> Lane:
    """A row as the picture takes it."""
    names = [group.name for group in row.groups]
    name = names[0]
    if len(names) > 1:
        name = f"{', '.join(names[:2])}{'…' if len(names) > 2 else ''} ({len(names)})"
    sizes = sorted({group.size for group in row.groups})
    features = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    if row.groups[0].over:
        features += " each"
    marks = [(order[column], part) for column, parts in row.marks.items() for part in parts]
    kind = kind_of(row.groups[0])
    return Lane(name, features, kind, tuple(sorted(marks)), tuple(row.spans))


def _blocks(repeats: RepeatedBlocks, order: dict[str, int], layered: bool) -> list[Block]:
    """The runs of like blocks, as named runs of columns."""
    blocks = []
    for tensors, first, last, count in repeats.runs:
        columns = sorted({order[_layer(name) if layered else name] for name in tensors})
        number = re.search(r"\d+$", last)
        name = f"{first} to {number[0] if number else last}, {count} alike"
        blocks.append(Block(name, columns[0], columns[-1]))
    return sorted(blocks, key=lambda block: block.first)


def _stages(columns: Sequence[str]) -> list[Block]:
    """Runs of layers whose names begin alike.

    Names are compared by the most parts (at most three) that leave at most STAGES runs.
    """
    best: list[Block] = []
    for depth in (1, 2, 3):
        stages: list[Block] = []
        for k, name in enumerate(columns):
            stage = ".".join(name.split(".")[:depth])
            if stages and stages[-1].name == stage:
                stages[-1] = Block(stage, stages[-1].first, k)
            else:
                stages.append(Block(stage, k, k))
        stages = [block for block in stages if block.last > block.first]
        if len(stages) <= STAGES:
            best = stages
    return best


def _names(columns: Sequence[str], repeats: RepeatedBlocks) -> Iterable[str]:
    """Short names of the columns.

    The beginning that all share is left out, and so are "weight" and the name of a block that is
    written above.
    """
    inside = {
        name: f"{block}."
        for tensors, block, _, _ in repeats.runs
        for name in (*tensors, *map(_layer, tensors))
    }
    stem = _common(columns)
    for name in columns:
        short = name.removeprefix(inside.get(name, stem))
        yield short.removesuffix(".weight") or name


def _common(names: Sequence[str]) -> str:
    """The dotted beginning that all names share."""
    first, *others = [name.split(".")[:-1] for name in names]
    stem = ""
    for k, part in enumerate(first):
        if any(other[k : k + 1] != [part] for other in others):
            break
        stem += f"{part}."
    return stem
