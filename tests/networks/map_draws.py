"""Random maps of every group of a spec, and states for them."""

from __future__ import annotations

from typing import Any

import torch

from onefold.symmetry import GroupMap, SymmetrySpec
from onefold.symmetry.maps import fibre_shape


def drawn(kind: Any, size: int, seed: int, fibres: tuple[int, ...] = ()) -> GroupMap:
    """A random map of this kind and size."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "permutation":
        return GroupMap(kind, torch.rand(*fibres, size, generator=generator).argsort(-1))
    if kind == "scale":
        return GroupMap(
            kind, 0.5 + torch.rand(*fibres, size, generator=generator, dtype=torch.float64)
        )
    if kind == "sign":
        return GroupMap(
            kind, torch.randint(0, 2, (*fibres, size), generator=generator).double() * 2 - 1
        )
    matrix = torch.randn(
        *fibres, size, size, generator=generator, dtype=torch.float64
    ) + 3 * torch.eye(size, dtype=torch.float64)
    return GroupMap(kind, matrix, torch.linalg.inv(matrix))


def all_maps(spec: SymmetrySpec, kind: Any, seed: int = 0) -> dict[str, GroupMap]:
    """A random map for every group."""
    return {
        group.name: drawn(kind, group.size, seed + k, fibre_shape(spec, group))
        for k, group in enumerate(spec.groups)
    }
