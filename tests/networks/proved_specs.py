"""Symmetries of a network, found and proved."""

from __future__ import annotations

from typing import Any

from torch import nn

from onefold.symmetry import SymmetrySpec, find_symmetries, verify_symmetries
from onefold.symmetry.axes import Group


def proved(model: nn.Module, inputs: Any) -> SymmetrySpec:
    """The symmetries of a network, proved."""
    spec = find_symmetries(model, inputs)
    proof = verify_symmetries(spec, model, inputs)
    assert proof.passed, str(proof)
    assert spec.unknown == {}
    return spec


def groups_of(spec: SymmetrySpec, tensor: str, axis: int) -> list[Group]:
    """The groups on one axis of a tensor, in order of their names."""
    return [
        group
        for group in spec.groups
        if any((slot.tensor, slot.axis) == (tensor, axis) for slot in group.slots)
    ]
