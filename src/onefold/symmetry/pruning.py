"""Drop what the numeric proof refutes: find the offending groups by bisection, keep the rest.

A spec from the rules should never need it. A user's own rule may claim too much, though, and an
operator may behave in a way that its rule does not know; then a wrong group would ruin every merge,
and a frozen one only costs a little of what could be aligned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from onefold.symmetry.axes import (
    MAP_CLASSES,
    Axes,
    Case,
    FeatureSpace,
    Fixed,
    Group,
    Live,
    Prod,
    Sum,
    Term,
    live_groups,
)
from onefold.symmetry.spec import SymmetrySpec
from onefold.symmetry.trial import Trial

REFUTED = "refuted by the numeric proof"


@dataclass(frozen=True)
class Pruned:
    """The spec that is left, and what was taken away: groups as a whole, and classes of maps of
    groups that stay (group -> classes).
    """

    spec: SymmetrySpec
    dropped: tuple[Group, ...]
    narrowed: dict[str, frozenset[str]]

    def __str__(self) -> str:
        lines = [
            f"group {g.name} ({', '.join(s.tensor for s in g.slots[:4])}) was {REFUTED} and is"
            " frozen"
            for g in self.dropped
        ]
        lines += [
            f"group {name} no longer takes {', '.join(sorted(kinds))} maps, {REFUTED}"
            for name, kinds in self.narrowed.items()
        ]
        return "\n".join(lines)


def prune(
    spec: SymmetrySpec,
    model: nn.Module,
    example_inputs: Any,
    *,
    seed: int = 0,
    tolerance: float = 1e-10,
) -> Pruned:
    """The spec without the groups, and without the classes of maps, that move the function of the
    network.

    Costs a few runs of the network where nothing is wrong, and about 2 log2(groups) more for each
    offender.

    Args:
        example_inputs: one batch, as for `find_symmetries`.
        seed: of weights and maps. tolerance: largest relative error in float64.

    Raises:
        SymmetryError: the network is random in eval mode, or its output is constant or not finite.
        DataError: the network cannot run on the example inputs.
    """
    trial = Trial(model, spec, example_inputs, seed)
    trial.check_steady(tolerance)

    def offenders_in(groups: Sequence[Group], kind: str, folded: bool = False) -> list[Group]:
        return _offenders(groups, [], lambda own: trial.error(own, kind, folded) > tolerance)

    dropped = tuple(offenders_in(spec.groups, "permutation"))
    names = {group.name for group in dropped}
    narrowed: dict[str, frozenset[str]] = {}
    left = [group for group in spec.groups if group.name not in names]
    for kind in MAP_CLASSES:
        wrong = offenders_in([g for g in left if kind in g.maps and kind != "permutation"], kind)
        wrong += offenders_in(
            [g for g in left if kind in g.folded and g not in wrong], kind, folded=True
        )
        for group in wrong:
            narrowed[group.name] = narrowed.get(group.name, frozenset()) | {kind}
    if not dropped and not narrowed:
        return Pruned(spec, (), {})
    return Pruned(_without(spec, names, narrowed), dropped, narrowed)


def _offenders(
    groups: Sequence[Group], context: Sequence[Group], wrong: Callable[[Sequence[Group]], bool]
) -> list[Group]:
    """The groups to leave out so that the rest, together with the sound groups of the context, is
    not wrong any more.
    """
    if not groups or not wrong([*context, *groups]):
        return []
    if len(groups) == 1:
        return list(groups)
    middle = len(groups) // 2
    first = _offenders(groups[:middle], context, wrong)
    sound = [group for group in groups[:middle] if group not in first]
    return first + _offenders(groups[middle:], [*context, *sound], wrong)


def _without(
    spec: SymmetrySpec, names: set[str], narrowed: dict[str, frozenset[str]]
) -> SymmetrySpec:
    """The spec with these groups frozen and the others' maps narrowed."""
    axes = {name: _frozen(own, names) for name, own in spec.axes.items()}
    kept = [
        replace(group, maps=group.maps - narrowed.get(group.name, frozenset()))
        for group in spec.groups
        if group.name not in names
    ]
    kept = [
        replace(
            g,
            dense=g.dense and g.name not in narrowed,
            folded=g.folded - narrowed.get(g.name, frozenset()),
        )
        for g in kept
    ]
    lost = {
        name: REFUTED
        for name, own in axes.items()
        if own != spec.axes[name] and not any(True for term in own for _ in live_groups(term))
    }
    statistics = {name for norm in spec.norms for name in (norm.mean, norm.variance)}
    again = {name for names in spec.tied for name in names[1:]}
    count = sum(_numel(axes[name]) for name in lost if name not in statistics | again)
    return replace(
        spec,
        groups=tuple(kept),
        axes=axes,
        nodes={name: _frozen(own, names) for name, own in spec.nodes.items()},
        spaces=tuple(_left(space, names) for space in spec.spaces),
        frozen=spec.frozen | lost,
        coverage=spec.coverage - count / spec.parameters if spec.parameters else 0.0,
    )


def _left(space: FeatureSpace, names: set[str]) -> FeatureSpace:
    groups = tuple(name for name in space.groups if name not in names)
    return (
        space
        if groups == space.groups
        else replace(space, groups=groups, reason="" if groups else REFUTED)
    )


def _frozen(axes: Axes, names: set[str]) -> Axes:
    return tuple(_fixed(term, names) for term in axes)


def _fixed(term: Term, names: set[str]) -> Term:
    if isinstance(term, Live):
        return Fixed(term.group, term.size) if term.group in names else term
    if isinstance(term, Prod | Sum):
        return type(term)(tuple(_fixed(part, names) for part in term.parts))
    return (
        Case(term.index, tuple(_fixed(part, names) for part in term.parts))
        if isinstance(term, Case)
        else term
    )


def _numel(axes: Axes) -> int:
    count = 1
    for term in axes:
        count *= term.size
    return count
