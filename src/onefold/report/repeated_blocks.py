"""Consecutive blocks of a network in which all groups are alike, such as transformer layers.

The picture of symmetries shows the first block of such a run, and draws the others onto it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from onefold.symmetry.axes import Group
from onefold.symmetry.spec import SymmetrySpec

NUMBERED = re.compile(r"\D*\d+")  # "3", "layer3": a part of a name that may count blocks
LEAST = 3  # tensors in a block that is worth folding

Block = tuple[str, list[str]]  # the name of a block, or "", and its tensors


def kind_of(group: Group) -> str:
    """The class of maps that tells most about a group, as in the picture's legend."""
    if group.over:
        return "indexed"
    if group.maps & {"orthogonal", "orthogonal_mean", "invertible"}:
        return "dense"
    return "folded" if group.folded else "permutation"


class RepeatedBlocks:
    """The runs of like blocks in a network.

    Args:
        spec: the symmetries of the network.
        tensors: the names of the tensors in the order of their use.
        levels: the number of levels of names that are searched; "layers.3" is at level 1. 0 finds
            no run.

    Attributes:
        shown: name of a tensor -> name of the tensor whose column it is drawn in.
        same: name of a group -> name of the group of the first block that it is drawn with.
        runs: for each run the tensors of its first block, the names of its first and last block,
            and the number of blocks.
    """

    def __init__(self, spec: SymmetrySpec, tensors: Sequence[str], levels: int) -> None:
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
        """Find the runs at one level of names.

        Returns the tensors that are still to be folded at deeper levels.
        """
        blocks = _blocks_at(tensors, level)
        rest: list[str] = []
        start = 0
        while start < len(blocks):
            name, own = blocks[start]
            end = self._end_of_run(blocks, start)
            if end > start + 1:
                self.runs.append((own, name, blocks[end - 1][0], end - start))
            else:
                rest += own
            start = end
        return rest

    def _end_of_run(self, blocks: list[Block], start: int) -> int:
        """One past the last block that is like the one at `start`; draws the others onto it."""
        name, own = blocks[start]
        end = start + 1
        if not name or len(own) < LEAST:
            return end
        pattern, groups = self._signature(name, own)
        while end < len(blocks) and _siblings(name, blocks[end][0]):
            next_name, next_tensors = blocks[end]
            next_pattern, next_groups = self._signature(next_name, next_tensors)
            if next_pattern != pattern:
                break
            self.shown.update(zip(next_tensors, own, strict=True))
            self.same.update(zip(next_groups, groups, strict=True))
            end += 1
        return end

    def _signature(self, block: str, own: list[str]) -> tuple[object, list[str]]:
        """The pattern that two like blocks have in common, and the groups of this block alone.

        The groups are in the order of their first tensor.
        """
        inside = set(own)
        local: list[str] = []
        tensors: list[object] = []
        for name in own:
            marks: list[object] = []
            for axis, role, group in self._marks[name]:
                slots = self._groups[group].slots
                if group not in local and all(slot.tensor in inside for slot in slots):
                    local.append(group)
                marks.append((axis, role, local.index(group) if group in local else group))
            tensors.append((name.removeprefix(block), marks, name in self._frozen))
        groups = [(self._groups[name].size, kind_of(self._groups[name])) for name in local]
        return (tensors, groups), local


def _blocks_at(tensors: Sequence[str], level: int) -> list[Block]:
    """Consecutive tensors whose names agree down to a numbered part at this level."""
    blocks: list[Block] = []
    for name in tensors:
        parts = name.split(".")
        numbered = len(parts) > level + 1 and NUMBERED.fullmatch(parts[level])
        block = ".".join(parts[: level + 1]) if numbered else ""
        if blocks and block and blocks[-1][0] == block:
            blocks[-1][1].append(name)
        else:
            blocks.append((block, [name]))
    return blocks


def _siblings(block: str, other: str) -> bool:
    """Whether two blocks differ in their number alone."""
    return bool(other) and re.sub(r"\d+$", "", block) == re.sub(r"\d+$", "", other)
