"""SymmetrySpec: what may move inside a network without changing its function. Plain data, comparable, JSON both ways.

Every axis of every movable tensor is a term over atoms (see `terms`). An atom that no rule froze is a *group*: one unknown map of its
`size` coordinates, which acts on all its slots at once. A frozen atom is a `Fixed` part of an axis, which stays in place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from onefold.errors import SymmetryError
from onefold.layers import Layer, Norm, ScaleFold

ROLES = ("producer", "consumer", "bias", "scale", "shift", "mean", "variance", "depthwise", "table", "other")
MAP_CLASSES = ("permutation", "scale", "sign", "orthogonal", "orthogonal_mean", "invertible")


@dataclass(frozen=True)
class Live:
    """A part of an axis on which the group named `group` acts; `size` coordinates."""

    group: str
    size: int


@dataclass(frozen=True)
class Fixed:
    """A part of an axis that must stay in place; `name` tells two frozen atoms of one size apart (an index that maps may depend on)."""

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
    """One term for each value of the index atom named `index`, which is another axis of the same tensor."""

    index: str
    parts: tuple[Term, ...]

    @property
    def size(self) -> int:
        return self.parts[0].size


Term = Live | Fixed | Prod | Sum | Case
Axes = tuple[Term, ...]


@dataclass(frozen=True)
class Slot:
    """One axis of one tensor (by its state-dict name) that holds a group, and the part it plays there.

    A map T acts on producers, biases, shifts, means and tables as T, on consumers as its inverse. `depthwise` weights, `scale` and
    `variance` stand for coordinates one by one: permutations (and for some: scales, signs) may act on them, dense maps may not.
    """

    tensor: str
    axis: int
    role: str


@dataclass(frozen=True)
class Probe:
    """An axis of a node of the traced graph that is exactly the group, or the group times fixed parts: where its features can be read.

    kind: "pre" (a layer's or norm's output, or a residual sum, before any nonlinearity), "post" (the output of a nonlinearity) or "other".
    """

    node: str
    axis: int
    kind: str


@dataclass(frozen=True)
class Group:
    """One unknown map. `over`: index atoms (groups or fixed parts) per value of which the map may differ (fibres).

    duals: where features can be read that take the inverse transpose of the map, as keys do where queries take the map.
    """

    name: str
    size: int
    maps: frozenset[str]
    slots: tuple[Slot, ...]
    probes: tuple[Probe, ...] = ()
    over: tuple[str, ...] = ()
    dense: bool = False  # a dense map can be written into the weights: all slots are linear, or norms that fold away
    duals: tuple[Probe, ...] = ()
    folded: frozenset[str] = frozenset()  # classes of maps that it takes besides, once the scales of norms are folded (see `fold_scales`)


@dataclass(frozen=True)
class FeatureSpace:
    """`size` features that one layer makes and another one reads. node: the first layer that does so; groups: what moves them, in none of them where
    they stay, and then why."""

    node: str
    size: int
    groups: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class SymmetrySpec:
    """The groups of a network, and all that is needed to act with them and to read their features.

    axes: the term of every axis of every movable tensor, by state-dict name (tied tensors: one entry for each name).
    nodes: the terms of the axes of every node that a probe, a layer or a norm names.
    frozen: state-dict name -> why no axis of it is live. unknown: operator -> how many times it was met without a rule.
    coverage: share of the parameters' elements that lie in a tensor with a live axis.
    fingerprint: of the traced graph without its batch size; two networks of one architecture have the same.
    epsilons: running variance -> what its norm adds to it; of all norms, also of those that are not in `norms`.
    spaces: the feature spaces between layers (see symmetry/coverage.py), those that move and those that stay.
    """

    groups: tuple[Group, ...]
    axes: dict[str, Axes]
    nodes: dict[str, Axes]
    layers: tuple[Layer, ...]
    norms: tuple[Norm, ...] = ()  # all batch norms with running statistics, in graph order, folded or not
    tied: tuple[tuple[str, ...], ...] = ()
    scales: tuple[ScaleFold, ...] = ()  # of norms, that can move into the weights behind
    frozen: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    coverage: float = 0.0
    parameters: int = 0
    fingerprint: str = ""
    epsilons: dict[str, float] = field(default_factory=dict)
    spaces: tuple[FeatureSpace, ...] = ()

    @property
    def feature_coverage(self) -> float:
        """The share of the feature spaces between layers that a group moves; 1.0 where there are none."""
        return sum(bool(space.groups) for space in self.spaces) / len(self.spaces) if self.spaces else 1.0

    def group(self, name: str) -> Group:
        """The group of that name. Raises SymmetryError where there is none."""
        for group in self.groups:
            if group.name == name:
                return group
        raise SymmetryError(f"The symmetry spec has no group '{name}'; its groups are {', '.join(g.name for g in self.groups) or 'none'}.")

    def to_json(self) -> str:
        """The whole spec as JSON text; `from_json` gives an equal spec back."""
        return json.dumps(_encode(self), indent=1)

    @staticmethod
    def from_json(text: str) -> SymmetrySpec:
        """The spec that `to_json` wrote. Raises SymmetryError where the text is no such thing."""
        try:
            spec = _decode(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SymmetryError(f"This is not a symmetry spec written by onefold ({str(error)[:120]}); run find_symmetries again.") from error
        if not isinstance(spec, SymmetrySpec):
            raise SymmetryError("This JSON is not a symmetry spec; run find_symmetries again.")
        return spec

    def __str__(self) -> str:
        """A readable table: a line for each group, then coverage, feature spaces and tensors that stay, and unknown operators."""
        from onefold.symmetry.table import table_of  # it reads specs: imported here, where both are there

        return table_of(self)


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


_TYPES: dict[str, Any] = {
    t.__name__: t for t in (Live, Fixed, Prod, Sum, Case, Slot, Probe, Group, Norm, Layer, ScaleFold, FeatureSpace, SymmetrySpec)
}


def _encode(value: Any) -> Any:
    if type(value).__name__ in _TYPES:
        return {"is": type(value).__name__, **{name: _encode(getattr(value, name)) for name in asdict(value)}}
    if isinstance(value, tuple | frozenset):
        return {"is": type(value).__name__, "of": [_encode(x) for x in (value if isinstance(value, tuple) else sorted(value))]}
    if isinstance(value, dict):
        return {"is": "dict", "of": {k: _encode(v) for k, v in value.items()}}
    return value


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kind = value["is"]
    if kind in ("tuple", "frozenset"):
        items = [_decode(x) for x in value["of"]]
        return tuple(items) if kind == "tuple" else frozenset(items)
    if kind == "dict":
        return {k: _decode(v) for k, v in value["of"].items()}
    return _TYPES[kind](**{k: _decode(v) for k, v in value.items() if k != "is"})
