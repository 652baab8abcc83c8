"""The SymmetrySpec of a traced network, from the rules propagated through its graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch import fx

from onefold.layers import Layer, Norm, ScaleFold
from onefold.progress import waiting
from onefold.symmetry.axes import MAP_CLASSES, Group, Probe, Slot, live_groups
from onefold.symmetry.coverage import feature_spaces, reached_from
from onefold.symmetry.duals import Parities, parities
from onefold.symmetry.fibres import fibres
from onefold.symmetry.naming import Naming
from onefold.symmetry.propagate import propagate, tensors_of
from onefold.symmetry.rules.call import INVARIANT, Facts
from onefold.symmetry.scales import folded_maps, folds_of
from onefold.symmetry.sites import layers_of, norm_of, norm_tensors
from onefold.symmetry.spec import SymmetrySpec
from onefold.symmetry.terms import (
    ORTHOGONAL,
    PERMUTATION,
    WRITABLE,
    Atom,
    Prod,
    Term,
    atoms,
    freeze,
    resolve,
    size,
)
from onefold.symmetry.tracing import TracedNetwork

States = dict[str, list[Term]]  # state-dict name -> terms of its axes
Features = list[tuple[fx.Node, int, Term]]  # axes of nodes that show an atom
Roles = dict[tuple[str, int, Atom], str]  # (state-dict name, axis, atom) -> role
_COVARIANT = {"producer", "bias", "shift", "mean", "table"}  # roles on which T acts alike
_LINEAR = ("producer", "consumer", "bias", "table")
_OF_NORM = ("scale", "shift", "mean", "variance")
_DIRECTED = {"scale", "invertible"}  # classes whose maps differ from their inverse transpose


@waiting("Finding the symmetries")
def solve(traced: TracedNetwork, nodes: Collection[str] = ()) -> SymmetrySpec:
    """The symmetry spec of a traced network.

    Deterministic: groups are named g0, g1, ... in graph order.

    Args:
        traced: the network.
        nodes: names of further nodes whose axes the spec shall hold.
    """
    facts = propagate(traced)
    states = _states(facts)
    signs = parities(facts)
    roles = _roles(facts, states, signs)
    naming = Naming(states.values())
    layers = layers_of(facts)
    folds = folds_of(facts)
    groups = _groups(traced, facts, states, roles, signs, naming, layers, folds)
    first = {name: names[0] for names in traced.tied for name in names}
    tied = [name for name in first if first[name] != name and first[name] in states]
    axes = {name: naming.axes(states[first.get(name, name)]) for name in (*states, *tied)}
    norms = tuple(norm_of(site) for site in facts.norms)
    shown = _shown(groups, layers, norms) | set(nodes)
    live = {
        name
        for name, terms in axes.items()
        if any(True for term in terms for _ in live_groups(term))
    }
    turning = {group.name for group in groups if group.folded}
    total = sum(traced.parameters.values())
    moving = sum(count for name, count in traced.parameters.items() if name in live)
    return SymmetrySpec(
        groups=groups,
        axes=axes,
        nodes={
            node.name: naming.axes(terms)
            for node, terms in facts.axes.items()
            if node.name in shown and terms is not None
        },
        layers=layers,
        norms=norms,
        tied=traced.tied,
        scales=tuple(
            fold
            for fold, term in folds.values()
            if any(naming.groups.get(atom) in turning for atom in atoms(term))
        ),
        frozen=_frozen(traced, states, first, live),
        unknown=dict(sorted(facts.unknown.items())),
        coverage=moving / total if total else 0.0,
        parameters=total,
        fingerprint=traced.fingerprint,
        epsilons=dict(facts.epsilons),
        spaces=feature_spaces(traced, facts, naming.groups),
    )


def _groups(
    traced: TracedNetwork,
    facts: Facts,
    states: States,
    roles: Roles,
    signs: Parities,
    naming: Naming,
    layers: Sequence[Layer],
    folds: Mapping[str, tuple[ScaleFold, Term]],
) -> tuple[Group, ...]:
    """The groups, in the order of their names."""
    of_state = traced.state_names
    inputs = [n for n in facts.axes if n.op == "placeholder" and n.name not in of_state]
    computed = reached_from(inputs)
    over = fibres(tensors_of(facts), facts.mixes)
    folded = {
        name for layer in layers if layer.norm is not None for name in norm_tensors(layer.norm)
    }
    held, shown = _held(states), _features(facts, computed)
    groups = []
    for atom, name in naming.groups.items():
        slots = _slots(atom, held[atom], roles)
        # The map of a slot of role "other" may be inverted there or not.
        unclear = any(slot.role == "other" for slot in slots)
        linear = all(
            slot.role in _LINEAR or (slot.role in _OF_NORM and slot.tensor in folded)
            for slot in slots
        )
        plain: Features = []
        dual: Features = []
        for feature in shown.get(atom, []):
            (plain if signs.shows(atom, feature[0]) else dual).append(feature)
        groups.append(
            Group(
                name=name,
                size=atom.size,
                maps=atom.maps.intersection(MAP_CLASSES) - (_DIRECTED if unclear else set()),
                slots=slots,
                probes=_probes(atom, facts, plain),
                duals=_probes(atom, facts, dual),
                over=tuple(naming.name(index) for index in over.get(atom, [])),
                dense=linear and WRITABLE in atom.maps,
                folded=folded_maps(atom, slots, folds),
            )
        )
    return tuple(groups)


def _shown(groups: Sequence[Group], layers: Sequence[Layer], norms: Sequence[Norm]) -> set[str]:
    """The nodes that a probe, a layer or a norm names."""
    probes = [probe for group in groups for probe in (*group.probes, *group.duals)]
    shown = {probe.node for probe in probes} | {norm.node for norm in norms}
    return shown | {name for layer in layers for name in (layer.node, layer.source, layer.output)}


def _states(facts: Facts) -> States:
    """The axes of every movable tensor, by its first name, in the order of first use in the graph.

    A tensor that the graph never uses is frozen.
    """
    order = {node: k for k, node in enumerate(facts.axes)}
    first_use = {
        node: min((order.get(user, len(order)) for user in node.users), default=len(order))
        for node in facts.direct
    }
    used = {name for node, name in facts.direct.items() if node.users}
    states: States = {}
    for node in sorted(facts.direct, key=lambda n: (first_use[n], order[n])):
        name = facts.direct[node]
        states.setdefault(name, [resolve(term) for term in facts.axes[node]])
        if name not in used:
            for term in states[name]:
                freeze(term, "not used by the traced graph")
    return states


def _roles(facts: Facts, states: States, signs: Parities) -> Roles:
    """The role of each atom on each axis of each tensor.

    It is "other" if the atom has several roles there on which a map acts differently.
    """
    met: dict[tuple[str, int, Atom], list[str]] = {}
    for use in facts.uses:
        moved = set(atoms(use.term))
        for axis, term in enumerate(states[use.tensor]):
            for atom in atoms(term) if use.axis in (None, axis) else ():
                if atom in moved:
                    met.setdefault((use.tensor, axis, atom), []).append(signs.role(use, atom))
    roles: Roles = {}
    for key, met_there in met.items():
        if len(set(met_there)) == 1 or _COVARIANT.issuperset(met_there):
            roles[key] = met_there[0]
            continue
        roles[key] = "other"
        # A producer that is a consumer elsewhere allows only maps that are their own inverse
        # transpose.
        key[2].maps &= PERMUTATION if set(met_there) & {*INVARIANT, "other"} else ORTHOGONAL
    return roles


def _held(states: States) -> dict[Atom, list[tuple[str, int]]]:
    """Atom -> (tensor, axis) of every axis of a tensor that holds it."""
    held: dict[Atom, list[tuple[str, int]]] = {}
    for name, axes in states.items():
        for axis, term in enumerate(axes):
            for atom in dict.fromkeys(atoms(term)):
                held.setdefault(atom, []).append((name, axis))
    return held


def _slots(atom: Atom, held: Sequence[tuple[str, int]], roles: Roles) -> tuple[Slot, ...]:
    """The axes of tensors that hold an atom."""
    return tuple(Slot(name, axis, roles.get((name, axis, atom), "other")) for name, axis in held)


def _features(facts: Facts, computed: set[fx.Node]) -> dict[Atom, Features]:
    """Atom -> (node, axis, term) of every axis of real features that holds it."""
    found: dict[Atom, Features] = {}
    for node, axes in facts.axes.items():
        if node not in computed or not axes or isinstance(axes[0], list | None):
            continue
        if node.meta["val"].is_complex():
            continue
        for axis, term in enumerate(map(resolve, axes)):
            for atom in dict.fromkeys(atoms(term)):
                found.setdefault(atom, []).append((node, axis, term))
    return found


def _probes(atom: Atom, facts: Facts, features: Features) -> tuple[Probe, ...]:
    """Nodes that show the features: on axes of their own, else on composites or segments."""
    by_rank: list[list[Probe]] = [[], [], []]
    for node, axis, term in features:
        rank = 0 if term is atom else 1 if isinstance(term, Prod) else 2
        by_rank[rank].append(Probe(node.name, axis, facts.kinds.get(node.name, "other")))
    return tuple(next((probes for probes in by_rank if probes), []))


def _frozen(
    traced: TracedNetwork, states: States, first: Mapping[str, str], live: set[str]
) -> dict[str, str]:
    """Why each tensor that does not move stays."""
    frozen = {}
    for name in dict.fromkeys([*states, *traced.parameters]):
        if name not in live:
            axes = states.get(first.get(name, name), [])
            still = [atom for term in axes if size(term) > 1 for atom in atoms(term)]
            reasons = dict.fromkeys(atom.reason for atom in still if atom.reason)
            used = axes or name in states
            without_reason = "a single number" if used else "not used by the traced graph"
            frozen[name] = "; ".join(reasons) or without_reason
    return frozen
