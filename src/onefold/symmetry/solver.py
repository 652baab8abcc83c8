"""From a traced network to its SymmetrySpec: propagate the rules, then name what is left free to move."""

from __future__ import annotations

from collections.abc import Sequence

from onefold.symmetry import spec as plain
from onefold.symmetry.fibres import fibres
from onefold.symmetry.propagate import propagate
from onefold.symmetry.rules.call import Facts, LayerSite, NormSite
from onefold.symmetry.spec import Group, Layer, Norm, Probe, Slot, SymmetrySpec
from onefold.symmetry.terms import WRITABLE, Atom, Case, Prod, Term, atoms, freeze, resolve, size
from onefold.symmetry.tracing import TracedNetwork

_LINEAR_ROLES = ("producer", "consumer", "bias")
_NORM_ROLES = ("scale", "shift", "mean", "variance")


def solve(traced: TracedNetwork) -> SymmetrySpec:
    """The symmetry spec of a traced network. Deterministic: groups are named g0, g1, ... in graph order."""
    facts = propagate(traced)
    states = _states(facts)
    for name, axes in states.items():
        if not any(use.tensor == name for use in facts.uses):
            for term in axes:
                freeze(term, "not used by the traced graph" if not _used(facts, name) else "used by no operator that moves it")
    naming = _Naming(states)
    layers = _layers(facts, naming)
    folded = {name for layer in layers if layer.norm for name in _norm_tensors(layer.norm)}
    roles = _roles(facts, states)
    over = fibres([*states.values(), *_feature_axes(facts)], facts.mixes)
    groups = tuple(_group(facts, naming, atom, states, roles, over.get(atom, []), folded) for atom in naming.groups)
    canonical = {name: names[0] for names in traced.tied for name in names}
    axes = {name: naming.axes(states[canonical.get(name, name)]) for name in _state_names(traced, states, canonical)}
    norms = tuple(_norm(site) for site in facts.norms)
    named = {probe.node for group in groups for probe in group.probes}
    named |= {node for layer in layers for node in (layer.node, layer.source, layer.output)} | {norm.node for norm in norms}
    nodes = {node.name: naming.axes(found) for node, found in facts.axes.items() if node.name in named and found is not None}
    live = {name for name, own in axes.items() if any(True for term in own for _ in plain.live_groups(term))}
    total = sum(traced.parameters.values())
    covered = sum(count for name, count in traced.parameters.items() if name in live)
    return SymmetrySpec(
        groups=groups,
        axes=axes,
        nodes=nodes,
        layers=layers,
        norms=norms,
        tied=traced.tied,
        frozen=_frozen(traced, states, canonical, live),
        unknown=dict(sorted(facts.unknown.items())),
        coverage=covered / total if total else 0.0,
        parameters=total,
        fingerprint=traced.fingerprint,
    )


class _Naming:
    """Names for atoms: g0, g1, ... for those that may move, f0, f1, ... for those that stay, in the order of the state's axes."""

    def __init__(self, states: dict[str, list[Term]]) -> None:
        self.groups: dict[Atom, str] = {}
        self.fixed: dict[Atom, str] = {}
        for axes in states.values():
            for term in axes:
                for atom in atoms(term):
                    if not atom.frozen and atom.size > 1:
                        self.groups.setdefault(atom, f"g{len(self.groups)}")

    def name(self, atom: Atom) -> str:
        return self.groups[atom] if atom in self.groups else self.fixed.setdefault(atom, f"f{len(self.fixed)}")

    def term(self, term: Term) -> plain.Term:
        term = resolve(term)
        if isinstance(term, Atom):
            return plain.Live(self.groups[term], term.size) if term in self.groups else plain.Fixed(self.name(term), term.size)
        parts = tuple(self.term(part) for part in term.parts)
        if isinstance(term, Case):
            return plain.Case(self.name(term.index), parts)
        return plain.Prod(parts) if isinstance(term, Prod) else plain.Sum(parts)

    def axes(self, axes: Sequence[Term]) -> plain.Axes:
        return tuple(self.term(term) for term in axes)


def _states(facts: Facts) -> dict[str, list[Term]]:
    """The axes of every movable tensor, by its first name, in graph order of first use."""
    order = {node: k for k, node in enumerate(facts.axes)}
    first_use = {node: min((order.get(user, len(order)) for user in node.users), default=len(order)) for node in facts.direct}
    found: dict[str, list[Term]] = {}
    for node in sorted(facts.direct, key=lambda n: (first_use[n], order[n])):
        found.setdefault(facts.direct[node], [resolve(term) for term in facts.axes[node]])
    return found


def _used(facts: Facts, name: str) -> bool:
    return any(node.users for node, own in facts.direct.items() if own == name)


def _state_names(traced: TracedNetwork, states: dict[str, list[Term]], canonical: dict[str, str]) -> list[str]:
    tied = [name for names in traced.tied for name in names[1:] if names[0] in states]
    return [*states, *tied]


def _feature_axes(facts: Facts) -> list[list[Term]]:
    features: list[list[Term]] = []
    for axes in facts.axes.values():
        if axes and isinstance(axes[0], list):
            features.extend(own for own in axes if own)
        elif axes and axes[0] is not None:
            features.append(axes)
    return features


def _roles(facts: Facts, states: dict[str, list[Term]]) -> dict[tuple[str, int, Atom], str]:
    """The role of each atom on each axis; "other" where a tensor plays several parts there."""
    found: dict[tuple[str, int, Atom], set[str]] = {}
    for use in facts.uses:
        moved = set(atoms(use.term))
        for axis, term in enumerate(states[use.tensor]):
            if use.axis in (None, axis):
                for atom in atoms(term):
                    if atom in moved:
                        found.setdefault((use.tensor, axis, atom), set()).add(use.role)
    return {key: next(iter(roles)) if len(roles) == 1 else "other" for key, roles in found.items()}


def _group(
    facts: Facts,
    naming: _Naming,
    atom: Atom,
    states: dict[str, list[Term]],
    roles: dict[tuple[str, int, Atom], str],
    over: list[Atom],
    folded: set[str],
) -> Group:
    slots = tuple(
        Slot(name, axis, roles.get((name, axis, atom), "other"))
        for name, axes in states.items()
        for axis, term in enumerate(axes)
        if atom in atoms(term)
    )
    written = {slot.role for slot in slots}
    maps = atom.maps - {WRITABLE}
    if "other" in written:  # nothing tells the inverse from its transpose there
        maps -= {"scale", "invertible"}
    linear = all(slot.role in _LINEAR_ROLES or (slot.role in _NORM_ROLES and slot.tensor in folded) for slot in slots)
    indices = tuple(naming.name(h) for h in over)
    return Group(naming.groups[atom], atom.size, maps, slots, _probes(facts, atom), indices, linear and WRITABLE in atom.maps)


def _probes(facts: Facts, atom: Atom) -> tuple[Probe, ...]:
    """Where the group's features can be read: on axes of their own, else on composites, else on segments."""
    found: list[list[Probe]] = [[], [], []]
    for node, axes in facts.axes.items():
        if node.op != "call_function" or not axes or isinstance(axes[0], list) or axes[0] is None or node in facts.origin:
            continue
        for axis, term in enumerate(map(resolve, axes)):
            if atom in atoms(term):
                rank = 0 if term is atom else 1 if isinstance(term, Prod) else 2
                found[rank].append(Probe(node.name, axis, facts.kinds.get(node.name, "other")))
    return tuple(next((probes for probes in found if probes), []))


def _layers(facts: Facts, naming: _Naming) -> tuple[Layer, ...]:
    weights = [site.weight for site in facts.layers]
    behind = {site.source: site for site in facts.norms}
    layers = []
    for site in facts.layers:
        norm_site = behind.get(site.node)
        shared = weights.count(site.weight) > 1 or _uses_elsewhere(facts, site)
        folds = norm_site is not None and set(site.node.users) == {norm_site.node} and site.output_axis == 1 and not shared
        norm = _norm(norm_site) if folds and norm_site is not None else None
        layers.append(
            Layer(
                node=site.node.name,
                kind=site.kind,
                weight=site.weight,
                bias=site.bias,
                weight_axis=site.weight_axis,
                source=site.source.name,
                output=norm.node if norm is not None else site.node.name,
                output_axis=site.output_axis,
                groups=site.groups,
                norm=norm,
                shared=shared,
            )
        )
    return tuple(layers)


def _uses_elsewhere(facts: Facts, site: LayerSite) -> bool:
    """Whether the layer's weight also goes into something that is no layer (a tied embedding)."""
    return any(len(node.users) > 1 for node, name in facts.direct.items() if name == site.weight) or (
        sum(1 for name in facts.direct.values() if name == site.weight) > 1
    )


def _norm(site: NormSite) -> Norm:
    return Norm(site.node.name, site.scale, site.shift, site.mean, site.variance, site.eps)


def _norm_tensors(norm: Norm) -> list[str]:
    return [name for name in (norm.scale, norm.shift, norm.mean, norm.variance) if name is not None]


def _frozen(traced: TracedNetwork, states: dict[str, list[Term]], canonical: dict[str, str], live: set[str]) -> dict[str, str]:
    """Why the tensors that do not move do not."""
    reasons = {}
    for name in [*states, *(n for n in traced.parameters if canonical.get(n, n) not in states)]:
        if name in live:
            continue
        found = [atom.reason for term in states.get(name, []) if size(term) > 1 for atom in atoms(term) if atom.frozen and atom.reason]
        reasons[name] = "; ".join(dict.fromkeys(found)) or ("not used by the traced graph" if name not in states else "a single number")
    return reasons
