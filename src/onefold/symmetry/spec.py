"""SymmetrySpec: the maps inside a network that leave its function unchanged.

Plain data, comparable, JSON both ways.

Every axis of every movable tensor is a term over atoms (see `terms`). An atom that no rule froze is
a *group*: one unknown map of its `size` coordinates, which acts on all its slots at once. A frozen
atom is a `Fixed` part of an axis, which stays in place.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from onefold.errors import SymmetryError
from onefold.layers import Layer, Norm, ScaleFold
from onefold.notebook import card
from onefold.symmetry.axes import (
    Axes,
    Case,
    FeatureSpace,
    Fixed,
    Group,
    Live,
    Probe,
    Prod,
    Slot,
    Sum,
)
from onefold.symmetry.table import table_of


@dataclass(frozen=True)
class SymmetrySpec:
    """The groups of a network, with the data needed to act on them and to read their features.

    Attributes:
        groups: groups in graph order.
        axes: state-dict name -> term of every axis of that movable tensor. Tied tensors have one
            entry for each name.
        nodes: name of a node that a probe, a layer or a norm names -> terms of its axes.
        layers: linear and convolutional layers, in graph order.
        norms: all batch norms with running statistics, in graph order, folded or not.
        tied: groups of state-dict names that share one tensor.
        scales: learned scales of norms that can move into the weights behind them.
        frozen: state-dict name -> why no axis of the tensor is live.
        unknown: operator -> number of times it was met without a rule.
        coverage: share of the parameters' elements that lie in a tensor with a live axis.
        parameters: number of the parameters' elements.
        fingerprint: hash of the traced graph without its batch size; two networks of one
            architecture have the same.
        epsilons: running variance -> number that its norm adds to it, of all norms, also of those
            that are not in `norms`.
        spaces: feature spaces between layers (see symmetry/coverage.py), those that move and those
            that stay.
    """

    groups: tuple[Group, ...]
    axes: dict[str, Axes]
    nodes: dict[str, Axes]
    layers: tuple[Layer, ...]
    norms: tuple[Norm, ...] = ()
    tied: tuple[tuple[str, ...], ...] = ()
    scales: tuple[ScaleFold, ...] = ()
    frozen: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    coverage: float = 0.0
    parameters: int = 0
    fingerprint: str = ""
    epsilons: dict[str, float] = field(default_factory=dict)
    spaces: tuple[FeatureSpace, ...] = ()

    @property
    def feature_coverage(self) -> float:
        """The share of the feature spaces between layers that can move; 1.0 if there are none."""
        if not self.spaces:
            return 1.0
        return sum(bool(space.groups) for space in self.spaces) / len(self.spaces)

    def group(self, name: str) -> Group:
        """The group of that name.

        Raises:
            SymmetryError: there is none.
        """
        if isinstance(name, str) and (found := self._by_name.get(name)) is not None:
            return found
        raise SymmetryError(
            f"The symmetry spec has no group '{name}'; its groups are"
            f" {', '.join(g.name for g in self.groups) or 'none'}."
        )

    def __contains__(self, name: object) -> bool:
        """Whether there is a group of that name."""
        return name in self._by_name

    @cached_property
    def _by_name(self) -> dict[str, Group]:
        return {group.name: group for group in self.groups}

    def to_json(self) -> str:
        """The whole spec as JSON text; `from_json` gives an equal spec back."""
        return json.dumps(_encode(self), indent=1)

    @staticmethod
    def from_json(text: str) -> SymmetrySpec:
        """The spec that `to_json` wrote.

        Raises:
            SymmetryError: the text is no spec.
        """
        try:
            spec = _decode(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SymmetryError(
                f"This is not a symmetry spec written by onefold ({str(error)[:120]}); run"
                " find_symmetries again."
            ) from error
        if not isinstance(spec, SymmetrySpec):
            raise SymmetryError("This JSON is not a symmetry spec; run find_symmetries again.")
        return spec

    def __repr__(self) -> str:
        """One line of counts; `to_json` is the whole."""
        return (
            f"SymmetrySpec({len(self.groups)} groups, {len(self.layers)} layers, {len(self.norms)}"
            f" norms, {100 * self.coverage:.1f} % of {self.parameters:,} parameters,"
            f" fingerprint={self.fingerprint[:12]!r})"
        )

    def _repr_html_(self) -> str:
        """The short form in a notebook: the groups, and how much they cover."""
        moving = sum(bool(space.groups) for space in self.spaces)
        covered = f"{100 * self.coverage:.1f} % of {self.parameters:,} parameters"
        return card(
            f"{moving} of {len(self.spaces)} feature spaces between layers can move",
            [f"{len(self.groups)} groups cover {covered}."],
            ("group", "features", "tensors"),
            [
                (one.name, f"{one.size:,}", str(len({slot.tensor for slot in one.slots})))
                for one in self.groups
            ],
            more="print(spec) tells all; onefold inspect --report draws it.",
        )

    def __str__(self) -> str:
        """A readable table.

        It has a line for each group, then coverage, feature spaces and tensors that stay, and
        unknown operators.
        """
        return table_of(self)


_TYPES: dict[str, Any] = {
    t.__name__: t
    for t in (
        Live,
        Fixed,
        Prod,
        Sum,
        Case,
        Slot,
        Probe,
        Group,
        Norm,
        Layer,
        ScaleFold,
        FeatureSpace,
        SymmetrySpec,
    )
}


def _encode(value: Any) -> Any:
    kind = type(value).__name__
    if kind in _TYPES:
        return {"is": kind, **{name: _encode(getattr(value, name)) for name in asdict(value)}}
    if isinstance(value, tuple | frozenset):
        items = value if isinstance(value, tuple) else sorted(value)
        return {"is": kind, "of": [_encode(item) for item in items]}
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
