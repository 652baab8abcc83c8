"""Groups, specs and maps of small cases that are written out by hand."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from onefold.symmetry import GroupMap, SymmetrySpec
from onefold.symmetry.axes import Group, Slot


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def group_of(*maps: str, dense: bool = False, folded: tuple[str, ...] = (), size: int = 3) -> Group:
    return Group("g0", size, frozenset(maps), (), dense=dense, folded=frozenset(folded))


def dense(forward: Tensor, inverse: Tensor | None = None) -> GroupMap:
    return GroupMap("dense", forward, torch.linalg.inv(forward) if inverse is None else inverse)


def spec_of(
    group: Group,
    axes: dict[str, tuple[object, ...]],
    slots: tuple[Slot, ...],
    others: tuple[Group, ...] = (),
    **more: object,
) -> SymmetrySpec:
    return SymmetrySpec((replace(group, slots=slots), *others), axes, {}, (), **more)
