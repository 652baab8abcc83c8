"""Random maps of each class, for the numeric proof."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onefold.symmetry.axes import Group
from onefold.symmetry.maps import GroupMap, fibre_shape
from onefold.symmetry.spec import SymmetrySpec


def random_maps(
    spec: SymmetrySpec, groups: Sequence[Group], kind: str, generator: torch.Generator
) -> dict[str, GroupMap]:
    """A random map for each group, never the identity, and another one in each fibre.

    Args:
        spec: symmetries of the network.
        groups: groups to draw for.
        kind: class of the maps, of MAP_CLASSES.
        generator: source of the draws.
    """
    return {
        group.name: random_map(group.size, fibre_shape(spec, group), kind, generator)
        for group in groups
    }


def random_cycles(spec: SymmetrySpec, group: Group, generator: torch.Generator) -> GroupMap:
    """A random permutation of the group's coordinates, in each fibre, without a fixed point."""
    shape = (*fibre_shape(spec, group), group.size)
    order = torch.rand(shape, generator=generator, dtype=torch.float32).argsort(-1)
    cycle = torch.empty(shape, dtype=torch.int64).scatter_(-1, order, order.roll(1, -1))
    return GroupMap("permutation", cycle)


def random_map(
    size: int, fibres: tuple[int, ...], kind: str, generator: torch.Generator
) -> GroupMap:
    """One random map of `size` coordinates for each fibre, in float64, never the identity.

    Args:
        size: number of coordinates.
        fibres: number of values of each index atom that the map differs along.
        kind: class of the map, of MAP_CLASSES.
        generator: source of the draws.
    """
    shape = (*fibres, size)
    if kind == "permutation":
        draw = torch.rand(shape, generator=generator, dtype=torch.float32).argsort(-1)
        identity = torch.arange(size)
        same = (draw == identity).all(-1, keepdim=True)
        return GroupMap("permutation", torch.where(same, identity.roll(1), draw))
    if kind == "scale":
        return GroupMap("scale", 0.5 + torch.rand(shape, generator=generator, dtype=torch.float64))
    if kind == "sign":
        signs = torch.randint(0, 2, shape, generator=generator, dtype=torch.float64) * 2 - 1
        signs[..., 0] = -1
        return GroupMap("sign", signs)
    if kind == "orthogonal":
        matrix = _orthogonal(size, fibres, generator)
        return GroupMap("dense", matrix, matrix.transpose(-1, -2).contiguous())
    if kind == "orthogonal_mean":
        matrix = _fixing_the_mean(size, fibres, generator)
        return GroupMap("dense", matrix, matrix.transpose(-1, -2).contiguous())
    # singular values near one, so that no digits are lost
    stretch = 0.5 + torch.rand(shape, generator=generator, dtype=torch.float64)
    left, right = _orthogonal(size, fibres, generator), _orthogonal(size, fibres, generator)
    return GroupMap(
        "dense",
        left * stretch.unsqueeze(-2) @ right,
        right.transpose(-1, -2) / stretch.unsqueeze(-2) @ left.transpose(-1, -2),
    )


def _orthogonal(size: int, fibres: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """A random orthogonal matrix for each fibre."""
    gaussian = torch.randn(*fibres, size, size, generator=generator, dtype=torch.float64)
    square: Tensor = torch.linalg.qr(gaussian).Q
    return square


def _fixing_the_mean(size: int, fibres: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """A random orthogonal map of the vectors of mean zero that is the identity on constant ones."""
    start = torch.cat([torch.ones(size, 1), torch.eye(size)[:, : size - 1]], 1).to(torch.float64)
    basis: Tensor = torch.linalg.qr(start).Q[:, 1:]
    if size == 2:
        inner = -torch.ones(*fibres, 1, 1, dtype=torch.float64)
    else:
        inner = _orthogonal(size - 1, fibres, generator)
    return basis @ inner @ basis.T + torch.full((size, size), 1 / size, dtype=torch.float64)
