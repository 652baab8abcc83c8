"""Groups that the numeric proof refutes, found by bisection and removed from a spec.

A spec from the rules should never need it. But a user's own rule may claim too much, and an
operator may behave in a way that its rule does not know. A wrong group would ruin every merge,
whereas a frozen one only reduces a little what could be aligned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from onefold.arguments import checked
from onefold.isolation import isolated
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
    """A spec without what the proof refuted.

    Attributes:
        spec: the spec that is left.
        dropped: groups that were removed as a whole.
        narrowed: group that stays -> classes of maps that were removed from it.
    """

    spec: SymmetrySpec
    dropped: tuple[Group, ...]
    narrowed: dict[str, frozenset[str]]

    def __str__(self) -> str:
        lines = []
        for group in self.dropped:
            tensors = ", ".join(slot.tensor for slot in group.slots[:4])
            lines.append(f"group {group.name} ({tensors}) was {REFUTED} and is frozen")
        for name, kinds in self.narrowed.items():
            classes = ", ".join(sorted(kinds))
            lines.append(f"group {name} no longer takes {classes} maps, {REFUTED}")
        return "\n".join(lines)


@checked
@isolated
def prune(
    spec: SymmetrySpec,
    model: nn.Module,
    example_inputs: Any,
    *,
    seed: int = 0,
    tolerance: float = 1e-10,
) -> Pruned:
    """The spec without the groups, and the classes of maps, that change the network's function.

    It costs a few runs of the network if nothing is wrong, and about 2 log2(groups) more for each
    offender.

    Args:
        spec: symmetries to try.
        model: the network; a copy of it is used.
        example_inputs: one batch, as for `find_symmetries`.
        seed: seed of weights and maps.
        tolerance: largest relative error in float64 that passes.

    Raises:
        SymmetryError: the network is random in eval mode, or its output is constant or not finite.
        DataError: the network cannot run on the example inputs.
    """
    trial = Trial(model, spec, example_inputs, seed)
    trial.check_steady(tolerance)

    def offenders_in(groups: Sequence[Group], kind: str, folded: bool = False) -> list[Group]:
        return offenders(groups, [], lambda tried: trial.error(tried, kind, folded) > tolerance)

    dropped = tuple(offenders_in(spec.groups, "permutation"))
    names = {group.name for group in dropped}
    narrowed: dict[str, frozenset[str]] = {}
    left = [group for group in spec.groups if group.name not in names]
    for kind in MAP_CLASSES:
        wrong = offenders_in([g for g in left if kind in g.maps and kind != "permutation"], kind)
        folded = [g for g in left if kind in g.folded and g not in wrong]
        wrong += offenders_in(folded, kind, folded=True)
        for group in wrong:
            narrowed[group.name] = narrowed.get(group.name, frozenset()) | {kind}
    if not dropped and not narrowed:
        return Pruned(spec, (), {})
    return Pruned(without(spec, names, narrowed), dropped, narrowed)


def offenders(
    groups: Sequence[Group], context: Sequence[Group], wrong: Callable[[Sequence[Group]], bool]
) -> list[Group]:
    """The groups to leave out so that the others, with those of the context, are no longer wrong.

    Args:
        groups: groups to search.
        context: groups that are known to be sound.
        wrong: whether maps of these groups, moved together, change the function.
    """
    if not groups or not wrong([*context, *groups]):
        return []
    if len(groups) == 1:
        return list(groups)
    middle = len(groups) // 2
    first = offenders(groups[:middle], context, wrong)
    sound = [group for group in groups[:middle] if group not in first]
    return first + offenders(groups[middle:], [*context, *sound], wrong)


def without(
    spec: SymmetrySpec, names: set[str], narrowed: dict[str, frozenset[str]]
) -> SymmetrySpec:
    """The spec with these groups frozen and the others' maps narrowed."""
    axes = {name: _frozen(terms, names) for name, terms in spec.axes.items()}
    groups = []
    for group in spec.groups:
        if group.name in names:
            continue
        removed = narrowed.get(group.name, frozenset())
        dense = group.dense and group.name not in narrowed
        maps, folded = group.maps - removed, group.folded - removed
        groups.append(replace(group, maps=maps, dense=dense, folded=folded))
    lost = {
        name: REFUTED
        for name, terms in axes.items()
        if terms != spec.axes[name] and not any(True for term in terms for _ in live_groups(term))
    }
    statistics = {name for norm in spec.norms for name in (norm.mean, norm.variance)}
    again = {name for names in spec.tied for name in names[1:]}
    count = sum(_numel(axes[name]) for name in lost if name not in statistics | again)
    return replace(
        spec,
        groups=tuple(groups),
        axes=axes,
        nodes={name: _frozen(terms, names) for name, terms in spec.nodes.items()},
        spaces=tuple(_left(space, names) for space in spec.spaces),
        frozen=spec.frozen | lost,
        coverage=spec.coverage - count / spec.parameters if spec.parameters else 0.0,
    )


def _left(space: FeatureSpace, names: set[str]) -> FeatureSpace:
    groups = tuple(name for name in space.groups if name not in names)
    if groups == space.groups:
        return space
    return replace(space, groups=groups, reason="" if groups else REFUTED)


def _frozen(axes: Axes, names: set[str]) -> Axes:
    return tuple(_fixed(term, names) for term in axes)


def _fixed(term: Term, names: set[str]) -> Term:
    if isinstance(term, Live):
        return Fixed(term.group, term.size) if term.group in names else term
    if isinstance(term, Prod | Sum):
        return type(term)(tuple(_fixed(part, names) for part in term.parts))
    if isinstance(term, Case):
        return Case(term.index, tuple(_fixed(part, names) for part in term.parts))
    return term


def _numel(axes: Axes) -> int:
    return math.prod(term.size for term in axes)
