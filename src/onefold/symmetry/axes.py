"""Axes of a tensor as the symmetry finder sees them, and the groups of features on them."""

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
    """A part of an axis on which a group acts.

    Attributes:
        group: name of the group.
        size: number of coordinates.
    """

    group: str
    size: int


@dataclass(frozen=True)
class Fixed:
    """A part of an axis that must stay in place.

    Attributes:
        name: name that tells two frozen atoms of one size apart (an index that maps may depend on).
        size: number of coordinates.
    """

    name: str
    size: int


@dataclass(frozen=True)
class Prod:
    """Row-major composite of its parts: heads x head_dim, channels x height x width.

    Attributes:
        parts: the factors, outermost first.
    """

    parts: tuple[Term, ...]

    @property
    def size(self) -> int:
        """The number of coordinates: the product over the parts."""
        return math.prod(part.size for part in self.parts)


@dataclass(frozen=True)
class Sum:
    """Concatenation of its parts.

    Attributes:
        parts: the segments, in order.
    """

    parts: tuple[Term, ...]

    @property
    def size(self) -> int:
        """The number of coordinates: the sum over the parts."""
        return sum(part.size for part in self.parts)


@dataclass(frozen=True)
class Case:
    """One term for each value of an index atom, which is another axis of the same tensor.

    Attributes:
        index: name of the index atom.
        parts: a term for each of its values.
    """

    index: str
    parts: tuple[Term, ...]

    @property
    def size(self) -> int:
        """The number of coordinates, the same for every value."""
        return self.parts[0].size


Term = Live | Fixed | Prod | Sum | Case
Axes = tuple[Term, ...]


@dataclass(frozen=True)
class Slot:
    """One axis of one tensor that holds a group, and the group's role there.

    A map T acts on producers, biases, shifts, means and tables as T, on consumers as its inverse.
    Tensors of the roles "depthwise", "scale" and "variance" belong to coordinates one by one:
    permutations (and for some: scales, signs) may act on them, dense maps may not.

    Attributes:
        tensor: state-dict name.
        axis: axis of the tensor.
        role: one of ROLES.
    """

    tensor: str
    axis: int
    role: str


@dataclass(frozen=True)
class Probe:
    """An axis of a node of the traced graph at which a group's features can be read.

    The axis is exactly the group, or the group times fixed parts.

    Attributes:
        node: name of the node.
        axis: axis of its value.
        kind: "pre" (output of a layer or norm, or a residual sum, before any nonlinearity), "post"
            (output of a nonlinearity) or "other".
    """

    node: str
    axis: int
    kind: str


@dataclass(frozen=True)
class Group:
    """One unknown map.

    Attributes:
        name: name of the group.
        size: number of coordinates.
        maps: classes of maps that leave the function as it is, of MAP_CLASSES.
        slots: axes of tensors that the map acts on.
        probes: nodes at which the features can be read.
        over: index atoms (groups or fixed parts) per value of which the map may differ (fibres).
        dense: whether a dense map can be written into the weights: all slots are linear, or of
            norms that can be folded.
        duals: nodes at which features can be read that take the inverse transpose of the map, as
            keys do if queries take the map.
        folded: further classes of maps that are allowed once the scales of norms are folded (see
            `fold_scales`).
    """

    name: str
    size: int
    maps: frozenset[str]
    slots: tuple[Slot, ...]
    probes: tuple[Probe, ...] = ()
    over: tuple[str, ...] = ()
    dense: bool = False
    duals: tuple[Probe, ...] = ()
    folded: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FeatureSpace:
    """Features that one layer makes and another one reads.

    Attributes:
        node: the first layer that makes or reads them.
        size: number of features.
        groups: groups that move them; empty if the features stay.
        reason: why they stay; empty if they move.
    """

    node: str
    size: int
    groups: tuple[str, ...] = ()
    reason: str = ""


def at_index(term: Term, index: str, value: int) -> Term:
    """The term with the index atom of that name fixed at `value`."""
    if isinstance(term, Case) and term.index == index:
        return term.parts[value]
    if isinstance(term, Prod | Sum):
        return type(term)(tuple(at_index(part, index, value) for part in term.parts))
    return term


def live_groups(term: Term) -> Iterator[str]:
    """Yield the names of the groups in a term, in order; a group may occur several times."""
    if isinstance(term, Live):
        yield term.group
    elif not isinstance(term, Fixed):
        for part in term.parts:
            yield from live_groups(part)
