"""A network, and wrong claims about its symmetries."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import nn

from onefold.symmetry import SymmetrySpec


def deep(widths: Sequence[int] = (6, 6, 7, 8, 6)) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in zip((4, *widths), (*widths, 3), strict=True):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def swapped(spec: SymmetrySpec, first: str, second: str) -> SymmetrySpec:
    """A wrong spec: the columns that read one group are said to read another of its size."""
    a, b = spec.group(first), spec.group(second)
    reader = next(slot for slot in b.slots if slot.role == "consumer")
    axes = dict(spec.axes)
    own = list(axes[reader.tensor])
    own[reader.axis] = dataclasses.replace(own[reader.axis], group=first)
    axes[reader.tensor] = tuple(own)
    groups = tuple(
        (
            dataclasses.replace(g, slots=(*g.slots, reader))
            if g is a
            else (
                dataclasses.replace(g, slots=tuple(slot for slot in g.slots if slot != reader))
                if g is b
                else g
            )
        )
        for g in spec.groups
    )
    return dataclasses.replace(spec, axes=axes, groups=groups)
