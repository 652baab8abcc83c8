"""Two outputs of one configuration, tensor by tensor."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

SMALL = (torch.bfloat16, torch.float16)


@dataclass
class Compared:
    """How far the outputs lie apart.

    Attributes:
        elements: number of elements of tensors that both have, of one shape.
        relative: the greatest difference of float32 tensors, each over the greatest value of its
            tensor.
        where: the tensors that differ by more than 1e-6 of their greatest value.
        beyond: number of elements of 16-bit tensors that differ by more than one unit in the last
            place.
        ulps: the greatest such difference, in units in the last place.
        apart: number of elements that differ by more than 1e-6 of the greatest value.
        small: the tensors are of 16 bits.
        ours: names that only onefold wrote.
        theirs: names that only mergekit wrote.
        shapes: names of tensors of different shapes.
        dtypes: names of tensors of different dtypes.
    """

    elements: int = 0
    relative: float = 0.0
    where: list[str] = field(default_factory=list)
    beyond: int = 0
    ulps: int = 0
    apart: int = 0
    small: bool = False
    ours: list[str] = field(default_factory=list)
    theirs: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)
    dtypes: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """The share of elements that differ by more than one unit in the last place."""
        return self.beyond / max(1, self.elements)


def stored(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder."""
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found.update(load_file(file))
    return found


def compared(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> Compared:
    """Compare two outputs."""
    found = Compared(ours=sorted(set(ours) - set(theirs)), theirs=sorted(set(theirs) - set(ours)))
    for name in sorted(set(ours) & set(theirs)):
        one, other = ours[name], theirs[name]
        if one.shape != other.shape:
            found.shapes.append(f"{name}: {list(one.shape)} and {list(other.shape)}")
            continue
        if one.dtype != other.dtype:
            found.dtypes.append(f"{name}: {one.dtype} and {other.dtype}")
            other = other.to(one.dtype)
        found.elements += one.numel()
        if one.dtype in SMALL:
            found.small = True
            apart = ulps(one, other)
            found.beyond += int((apart > 1).sum())
            found.ulps = max(found.ulps, int(apart.max()) if apart.numel() else 0)
        else:
            relative = relative_difference(one, other)
            limit = 1e-6 * other.double().abs().max()
            found.apart += int(((one.double() - other.double()).abs() > limit).sum())
            found.relative = max(relative, found.relative)
            if relative > 1e-6:
                found.where.append(name)
    return found


def relative_difference(one: Tensor, other: Tensor) -> float:
    """The greatest difference over the greatest value of the tensor."""
    if not one.numel():
        return 0.0
    apart = (one.double() - other.double()).abs().max()
    return float(apart / other.double().abs().max().clamp(min=1e-300))


def ulps(one: Tensor, other: Tensor) -> Tensor:
    """The number of representable values from each element to that of the other tensor."""
    return (_order(one) - _order(other)).abs()


def _order(values: Tensor) -> Tensor:
    bits = values.view(torch.int16).int()
    return torch.where(bits < 0, -(bits & 0x7FFF), bits)
