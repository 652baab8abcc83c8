"""How much of a network could move: its feature spaces between layers, and in words why others
stay.

Elements of tensors alone hide what matters: a large table may move while every feature between two
layers stays. A feature space is an axis of features that one layer makes and another one reads, but
for the axes of the network's own inputs and outputs, of vocabularies and of positions, which no
alignment could move in any network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor, fx
from torch.utils import _pytree as pytree

from onefold.symmetry.axes import FeatureSpace
from onefold.symmetry.rules.call import Facts, Use
from onefold.symmetry.spec import SymmetrySpec
from onefold.symmetry.terms import Atom, Case, Sum, Term, atoms, resolve
from onefold.symmetry.tracing import TracedNetwork

LEAST = 0.8  # of elements and of feature spaces: below it a user is told
_MADE, _READ = ("producer",), ("consumer",)
_SHOWN = 4
_POSITIONS = ("space of", "time of", "frequencies of", "windows along")


def feature_spaces(
    traced: TracedNetwork, facts: Facts, groups: Mapping[Atom, str]
) -> tuple[FeatureSpace, ...]:
    """The feature spaces between layers, in graph order. groups: the atoms that move, with their
    names.
    """
    inputs = [n for n in facts.axes if n.op == "placeholder" and n.name not in traced.state_names]
    weights = [n for n in facts.axes if n.op == "placeholder" and n.name in traced.state_names]
    computed, learned = reached_from(inputs), reached_from(weights)
    makes = [
        (u.node, u.term)
        for u in facts.uses
        if u.role in _MADE and u.node in computed and not _passes(facts, u, computed)
    ]
    reads = [(u.node, u.term) for u in facts.uses if u.role in _READ and u.node in computed]
    makes += [(node, term) for node, term in facts.made if node in computed]
    reads += [(node, term) for node, term in facts.read if node in computed]
    outer = _outer(traced, facts, inputs)
    before = _reaching({node for node, _ in reads})
    order = {node: k for k, node in enumerate(facts.axes)}
    found: dict[frozenset[Atom], tuple[fx.Node, int]] = {}
    stuck: set[fx.Node] = set()  # layers that make features which stay
    for node, term in sorted(makes, key=lambda pair: order[pair[0]]):
        for part in _segments(term) if node in before else ():
            own = _telling(part, groups) - outer
            if own:
                _join(found, frozenset(own), node)
                stuck |= {node} if own.isdisjoint(groups) else set()
    makers = {node for node, _ in makes}
    for node, term in sorted(reads, key=lambda pair: order[pair[0]]):
        if not any(source in computed & learned for source in node.all_input_nodes):
            continue
        for part in _segments(term):
            own = _telling(part, groups) - outer
            if own and not (
                own.isdisjoint(groups) and _nearest(node, makers) & stuck
            ):  # else counted where it is made
                _join(found, frozenset(own), node)
    places = sorted(found.items(), key=lambda item: order[item[1][0]])
    return tuple(_space(own, node, size, groups) for own, (node, size) in places)


def _passes(facts: Facts, use: Use, computed: set[fx.Node]) -> bool:
    """Whether an axis of a weight is one that the features have already, as a batch axis of an
    einsum is.
    """
    features = [
        source
        for source in use.node.all_input_nodes
        if source in computed and source not in facts.origin
    ]
    held = {
        atom
        for source in features
        for own in _tensors(facts.axes.get(source))
        for term in own
        for atom in atoms(term)
    }
    return held.issuperset(atoms(use.term))


def _nearest(node: fx.Node, makers: set[fx.Node]) -> set[fx.Node]:
    """The layers whose features a layer reads, through whatever lies between."""
    found: set[fx.Node] = set()
    seen: set[fx.Node] = set()
    waiting = list(node.all_input_nodes)
    while waiting:
        source = waiting.pop()
        if source in seen:
            continue
        seen.add(source)
        if source in makers:
            found.add(source)
        else:
            waiting.extend(source.all_input_nodes)
    return found


def reached_from(starts: Iterable[fx.Node]) -> set[fx.Node]:
    """All nodes whose value, and not its size alone, depends on one of these."""
    reached: set[fx.Node] = set()
    waiting = list(starts)
    while waiting:
        for user in waiting.pop().users:
            if user not in reached and isinstance(user.meta.get("val"), Tensor | list | tuple):
                reached.add(user)
                waiting.append(user)
    return reached


def why_still(spec: SymmetrySpec) -> str:
    """Why features stay: the operators without a rule; where there are none, the reasons of the
    spaces or tensors that stay.
    """
    if spec.unknown:
        names = [
            f"{name} ({count} time{'s' * (count > 1)})" for name, count in spec.unknown.items()
        ]
        return (
            f"no rule knows {'these operators' if len(names) > 1 else 'the operator'}:"
            f" {_few(names)}"
        )
    if not spec.spaces:
        return "there are no features between layers, only the network's own inputs and outputs"
    reasons = Counter(space.reason for space in spec.spaces if not space.groups)
    reasons = reasons or Counter(reason for reason in spec.frozen.values())
    names = [
        f"{reason} ({count} time{'s' * (count > 1)})" for reason, count in reasons.most_common()
    ]
    return f"features stay in place for these reasons: {_few(names)}"


def all_positions(spec: SymmetrySpec) -> bool:
    """Whether every feature space is one of positions, in which a feature is known by its place."""
    return (
        not spec.unknown
        and bool(spec.spaces)
        and all(space.reason.startswith(_POSITIONS) for space in spec.spaces)
    )


def shortfall(spec: SymmetrySpec) -> str | None:
    """A sentence where less than `LEAST` of a network could move, by elements or by feature spaces;
    None where enough can.
    """
    if min(spec.coverage, spec.feature_coverage) >= LEAST:
        return None
    moving = sum(bool(space.groups) for space in spec.spaces)
    return (
        f"only {moving} of {len(spec.spaces)} feature spaces between layers and"
        f" {100 * spec.coverage:.1f} % of the parameters could be aligned: {why_still(spec)}; the"
        " rest is averaged as it is"
    )


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (
        f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    )


def _outer(traced: TracedNetwork, facts: Facts, inputs: Iterable[fx.Node]) -> set[Atom]:
    """The atoms of the network's own inputs and outputs."""
    ends = [node for node in traced.graph.nodes if node.op == "output"]
    outputs = [x for node in ends for x in pytree.tree_leaves(node.args) if isinstance(x, fx.Node)]
    nodes = [*inputs, *(x for x in outputs if x.name not in traced.state_names)]
    return {
        atom
        for node in nodes
        for axes in _tensors(facts.axes.get(node))
        for t in axes
        for atom in atoms(t)
    }


def _tensors(axes: object) -> Iterator[list[Term]]:
    """The axes of every tensor of a node's value."""
    if isinstance(axes, list) and axes:
        yield from (own for own in axes if own) if isinstance(axes[0], list | None) else [axes]


def _reaching(ends: set[fx.Node]) -> set[fx.Node]:
    """All nodes that one of these depends on, without them where nothing behind them does."""
    found: set[fx.Node] = set()
    waiting = list(ends)
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source not in found:
                found.add(source)
                waiting.append(source)
    return found


def _segments(term: Term) -> Iterator[Term]:
    """What stands side by side on an axis, each a space of its own."""
    term = resolve(term)
    if isinstance(term, Sum | Case):
        for part in term.parts:
            yield from _segments(part)
    else:
        yield term


def _telling(term: Term, groups: Mapping[Atom, str]) -> set[Atom]:
    """The atoms that a space is known by: those that move; else those that stay, but for positions
    and words.
    """
    every = [atom for atom in atoms(term) if atom.size > 1]
    moving = {atom for atom in every if atom in groups}
    return moving or {atom for atom in every if not _is_place(atom)}


def _is_place(atom: Atom) -> bool:
    """Whether an axis counts positions or words.

    A convolution along features makes them no positions: they were free before it.
    """
    return atom.reason == "vocabulary" or (atom.given and atom.reason.startswith("space of"))


def _join(
    found: dict[frozenset[Atom], tuple[fx.Node, int]], own: frozenset[Atom], node: fx.Node
) -> None:
    """Add a space, or make it one with those that it shares an atom with."""
    size = 1
    for atom in own:
        size *= atom.size
    for other in [known for known in found if known & own]:
        node, before = found.pop(other)
        own, size = own | other, max(size, before)
    found[own] = (node, size)


def _space(
    own: frozenset[Atom], node: fx.Node, size: int, groups: Mapping[Atom, str]
) -> FeatureSpace:
    names = tuple(
        sorted((groups[atom] for atom in own if atom in groups), key=lambda name: int(name[1:]))
    )
    reasons = dict.fromkeys(
        atom.reason for atom in sorted(own, key=lambda atom: atom.serial) if atom.reason
    )
    return FeatureSpace(
        node.name,
        size,
        names,
        "" if names else "; ".join(reasons) or "no tensor of the state holds it",
    )
