"""The axes of a tensor as the symmetry finder sees them, and the groups of features that live on
them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

ROLES = (
    "producer",
    "consumer",
    "bias",
    "scale",
    "shift",
    "mean",
    "variance",
    "depthwise",
    "table",
    "other",
)


MAP_CLASSES = ("permutation", "scale", "sign", "orthogonal", "orthogonal_mean", "invertible")


@dataclass(frozen=True)
class Live:
    """A part of an axis on which the group named `group` acts; `size` coordinates."""

    group: str
    size: int


@dataclass(frozen=True)
class Fixed:
    """A part of an axis that must stay in place; `name` tells two frozen atoms of one size apart
    (an index that maps may depend on).
    """

    name: str
    size: int


@dataclass(frozen=True)
class Prod:
    """Row-major composite of its parts: heads x head_dim, channels x height x width."""

    parts: tuple[Term, ...]

    @property
    def size(self) -> int:
        return math.prod(part.size for part in self.parts)


@dataclass(frozen=True)
class Sum:
    """Concatenation of its parts."""

    parts: tuple[Term, ...]

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)


@dataclass(frozen=True)
class Case:
    """One term for each value of the index atom named `index`, which is another axis of the same
    tensor.
    """

    index: str
    parts: tuple[Term, ...]

    @property
    def size(self) -> int:
        return self.parts[0].size


Term = Live | Fixed | Prod | Sum | Case


Axes = tuple[Term, ...]


@dataclass(frozen=True)
class Slot:
    """One axis of one tensor (by its state-dict name) that holds a group, and the part it plays
    there.

    A map T acts on producers, biases, shifts, means and tables as T, on consumers as its inverse.
    `depthwise` weights, `scale` and `variance` stand for coordinates one by one: permutations (and
    for some: scales, signs) may act on them, dense maps may not.
    """

    tensor: str
    axis: int
    role: str


@dataclass(frozen=True)
class Probe:
    """An axis of a node of the traced graph that is exactly the group, or the group times fixed
    parts: where its features can be read.

    kind: "pre" (a layer's or norm's output, or a residual sum, before any nonlinearity), "post"
    (the output of a nonlinearity) or "other".
    """

    node: str
    axis: int
    kind: str


@dataclass(frozen=True)
class Group:
    """One unknown map.

    `over`: index atoms (groups or fixed parts) per value of which the map may differ (fibres).

    duals: where features can be read that take the inverse transpose of the map, as keys do where
    queries take the map.
    """

    name: str
    size: int
    maps: frozenset[str]
    slots: tuple[Slot, ...]
    probes: tuple[Probe, ...] = ()
    over: tuple[str, ...] = ()
    # a dense map can be written into the weights: all slots are linear, or norms that fold away
    dense: bool = False
    duals: tuple[Probe, ...] = ()
    folded: frozenset[str] = (
        frozenset()
    )  # classes of maps that it takes besides, once the scales of norms are folded (see `fold_scales`)


@dataclass(frozen=True)
class FeatureSpace:
    """`size` features that one layer makes and another one reads. node: the first layer that does
    so; groups: what moves them, in none of them where they stay, and then why.
    """

    node: str
    size: int
    groups: tuple[str, ...] = ()
    reason: str = ""


def at_index(term: Term, index: str, value: int) -> Term:
    """The term where the index atom of that name has the given value."""
    if isinstance(term, Case) and term.index == index:
        return term.parts[value]
    if isinstance(term, Prod | Sum):
        return type(term)(tuple(at_index(part, index, value) for part in term.parts))
    return term


def live_groups(term: Term) -> Iterator[str]:
    """The names of the groups in a term, in order, repeated where they occur repeatedly."""
    if isinstance(term, Live):
        yield term.group
    elif not isinstance(term, Fixed):
        for part in term.parts:
            yield from live_groups(part)
