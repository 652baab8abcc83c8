"""From a traced network to its SymmetrySpec: propagate the rules, then describe what is left free
to move.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import fx

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
Roles = dict[tuple[str, int, Atom], str]  # (state-dict name, axis, atom) -> role
_COVARIANT = {"producer", "bias", "shift", "mean", "table"}  # T acts on all of these alike
_LINEAR = ("producer", "consumer", "bias", "table")
_OF_NORM = ("scale", "shift", "mean", "variance")


def solve(traced: TracedNetwork, nodes: Collection[str] = ()) -> SymmetrySpec:
    """The symmetry spec of a traced network.

    Deterministic: groups are named g0, g1, ... in graph order. nodes: whose axes it shall tell,
    too.
    """
    facts = propagate(traced)
    states = _states(facts)
    signs = parities(facts)
    roles = _roles(facts, states, signs)
    naming = Naming(states.values())
    layers = layers_of(facts)
    folded = {
        name for layer in layers if layer.norm is not None for name in norm_tensors(layer.norm)
    }
    over = fibres(tensors_of(facts), facts.mixes)
    inputs = [
        node
        for node in facts.axes
        if node.op == "placeholder" and node.name not in traced.state_names
    ]
    computed = reached_from(inputs)
    folds = folds_of(facts)
    groups = []
    for atom, name in naming.groups.items():
        slots = _slots(atom, states, roles)
        dual_unknown = (
            {"scale", "invertible"} if any(slot.role == "other" for slot in slots) else set()
        )
        linear = all(
            slot.role in _LINEAR or (slot.role in _OF_NORM and slot.tensor in folded)
            for slot in slots
        )
        groups.append(
            Group(
                name=name,
                size=atom.size,
                maps=atom.maps.intersection(MAP_CLASSES) - dual_unknown,
                slots=slots,
                probes=_probes(atom, facts, {node for node in computed if signs.shows(atom, node)}),
                duals=_probes(
                    atom, facts, {node for node in computed if not signs.shows(atom, node)}
                ),
                over=tuple(naming.name(index) for index in over.get(atom, [])),
                dense=linear and WRITABLE in atom.maps,
                folded=folded_maps(atom, slots, folds),
            )
        )
    turning = {group.name for group in groups if group.folded}
    first = {name: names[0] for names in traced.tied for name in names}
    tied = [name for name in first if first[name] != name and first[name] in states]
    axes = {name: naming.axes(states[first.get(name, name)]) for name in (*states, *tied)}
    norms = tuple(norm_of(site) for site in facts.norms)
    shown = {probe.node for group in groups for probe in (*group.probes, *group.duals)} | {
        norm.node for norm in norms
    }
    shown |= {name for layer in layers for name in (layer.node, layer.source, layer.output)}
    shown |= set(nodes)
    live = {
        name for name, own in axes.items() if any(True for term in own for _ in live_groups(term))
    }
    total = sum(traced.parameters.values())
    return SymmetrySpec(
        groups=tuple(groups),
        axes=axes,
        nodes={
            node.name: naming.axes(found)
            for node, found in facts.axes.items()
            if node.name in shown and found is not None
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
        coverage=(
            sum(count for name, count in traced.parameters.items() if name in live) / total
            if total
            else 0.0
        ),
        parameters=total,
        fingerprint=traced.fingerprint,
        epsilons=dict(facts.epsilons),
        spaces=feature_spaces(traced, facts, naming.groups),
    )


def _states(facts: Facts) -> States:
    """The axes of every movable tensor, by its first name, in the order in which the graph first
    uses them.

    What it never uses stays.
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
    """The role of each atom on each axis of each tensor; "other" where it plays parts that a map
    acts on in different ways.
    """
    met: dict[tuple[str, int, Atom], list[str]] = {}
    for use in facts.uses:
        moved = set(atoms(use.term))
        for axis, term in enumerate(states[use.tensor]):
            for atom in atoms(term) if use.axis in (None, axis) else ():
                if atom in moved:
                    met.setdefault((use.tensor, axis, atom), []).append(signs.role(use, atom))
    roles: Roles = {}
    for key, found in met.items():
        if len(set(found)) == 1 or _COVARIANT.issuperset(found):
            roles[key] = found[0]
            continue
        roles[key] = "other"
        # A producer that is a consumer elsewhere stands only maps that are their own inverse
        # transpose.
        key[2].maps &= PERMUTATION if set(found) & {*INVARIANT, "other"} else ORTHOGONAL
    return roles


def _slots(atom: Atom, states: States, roles: Roles) -> tuple[Slot, ...]:
    return tuple(
        Slot(name, axis, roles.get((name, axis, atom), "other"))
        for name, axes in states.items()
        for axis, term in enumerate(axes)
        if atom in atoms(term)
    )


def _probes(atom: Atom, facts: Facts, computed: set[fx.Node]) -> tuple[Probe, ...]:
    """Where the group's features can be read: on axes of their own; else on composites; else on
    segments.
    """
    found: list[list[Probe]] = [[], [], []]
    for node, axes in facts.axes.items():
        if (
            node not in computed
            or not axes
            or isinstance(axes[0], list | None)
            or node.meta["val"].is_complex()
        ):
            continue
        for axis, term in enumerate(map(resolve, axes)):
            if atom in atoms(term):
                rank = 0 if term is atom else 1 if isinstance(term, Prod) else 2
                found[rank].append(Probe(node.name, axis, facts.kinds.get(node.name, "other")))
    return tuple(next((probes for probes in found if probes), []))


def _frozen(
    traced: TracedNetwork, states: States, first: Mapping[str, str], live: set[str]
) -> dict[str, str]:
    """Why the tensors that do not move do not."""
    frozen = {}
    for name in dict.fromkeys([*states, *traced.parameters]):
        if name not in live:
            axes = states.get(first.get(name, name), [])
            reasons = dict.fromkeys(
                atom.reason
                for term in axes
                if size(term) > 1
                for atom in atoms(term)
                if atom.reason
            )
            frozen[name] = "; ".join(reasons) or (
                "a single number" if axes or name in states else "not used by the traced graph"
            )
    return frozen
