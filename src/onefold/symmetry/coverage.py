"""Share of a network that could move: its feature spaces between layers, and why others stay.

Counts of elements alone hide the important share: a large table may move while every feature
between two layers stays. A feature space is an axis of features that one layer makes and another
one reads. The axes of the network's own inputs and outputs, of vocabularies and of positions do not
count, since no alignment could move them in any network.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor, fx
from torch.utils import _pytree as pytree

from onefold.symmetry.axes import FeatureSpace
from onefold.symmetry.rules.call import Facts, Use
from onefold.symmetry.spec import SymmetrySpec
from onefold.symmetry.terms import Atom, Case, Sum, Term, atoms, resolve
from onefold.symmetry.tracing import TracedNetwork

LEAST = 0.8  # share of elements and of feature spaces below which a warning is due
_MADE, _READ = ("producer",), ("consumer",)
_SHOWN = 4
_POSITIONS = ("space of", "time of", "frequencies of", "windows along")


def feature_spaces(
    traced: TracedNetwork, facts: Facts, groups: Mapping[Atom, str]
) -> tuple[FeatureSpace, ...]:
    """The feature spaces between layers, in graph order.

    Args:
        traced: the network.
        facts: what the rules found.
        groups: the atoms that move, with their names.
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
    spaces: dict[frozenset[Atom], tuple[fx.Node, int]] = {}
    stuck: set[fx.Node] = set()  # layers that make features which stay
    for node, term in sorted(makes, key=lambda pair: order[pair[0]]):
        for part in _segments(term) if node in before else ():
            known_by = _telling(part, groups) - outer
            if known_by:
                _join(spaces, frozenset(known_by), node)
                stuck |= {node} if known_by.isdisjoint(groups) else set()
    makers = {node for node, _ in makes}
    for node, term in sorted(reads, key=lambda pair: order[pair[0]]):
        if not any(source in computed & learned for source in node.all_input_nodes):
            continue
        for part in _segments(term):
            known_by = _telling(part, groups) - outer
            # features that stay are counted already at the layer that makes them
            counted = known_by.isdisjoint(groups) and bool(_nearest(node, makers) & stuck)
            if known_by and not counted:
                _join(spaces, frozenset(known_by), node)
    in_order = sorted(spaces.items(), key=lambda item: order[item[1][0]])
    return tuple(_space(known_by, node, size, groups) for known_by, (node, size) in in_order)


def _passes(facts: Facts, use: Use, computed: set[fx.Node]) -> bool:
    """Whether the features have this axis of a weight already, as a batch axis of an einsum."""
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
    """The layers whose features a layer reads, through any nodes between."""
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
    """All nodes whose value, and not its size alone, depends on one of `starts`."""
    reached: set[fx.Node] = set()
    waiting = list(starts)
    while waiting:
        for user in waiting.pop().users:
            if user not in reached and isinstance(user.meta.get("val"), Tensor | list | tuple):
                reached.add(user)
                waiting.append(user)
    return reached


def why_still(spec: SymmetrySpec) -> str:
    """Why features stay.

    The operators without a rule, if there are any. Otherwise the reasons of the feature spaces, or
    of the tensors, that stay.
    """
    if spec.unknown:
        names = [_counted(name, count) for name, count in spec.unknown.items()]
        operators = "these operators" if len(names) > 1 else "the operator"
        return f"no rule knows {operators}: {_few(names)}"
    if not spec.spaces:
        return "there are no features between layers, only the network's own inputs and outputs"
    reasons = Counter(space.reason for space in spec.spaces if not space.groups)
    reasons = reasons or Counter(reason for reason in spec.frozen.values())
    names = [_counted(reason, count) for reason, count in reasons.most_common()]
    return f"features stay in place for these reasons: {_few(names)}"


def _counted(text: str, count: int) -> str:
    return f"{text} ({count} time{'s' * (count > 1)})"


def all_positions(spec: SymmetrySpec) -> bool:
    """Whether every feature space counts positions, at which features are told apart by index."""
    return (
        not spec.unknown
        and bool(spec.spaces)
        and all(space.reason.startswith(_POSITIONS) for space in spec.spaces)
    )


def shortfall(spec: SymmetrySpec) -> str | None:
    """A sentence if less than `LEAST` of a network could move, by elements or by feature spaces.

    None if enough can move.
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
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _outer(traced: TracedNetwork, facts: Facts, inputs: Iterable[fx.Node]) -> set[Atom]:
    """The atoms of the network's own inputs and outputs."""
    ends = [node for node in traced.graph.nodes if node.op == "output"]
    outputs = [x for node in ends for x in pytree.tree_leaves(node.args) if isinstance(x, fx.Node)]
    nodes = [*inputs, *(x for x in outputs if x.name not in traced.state_names)]
    terms = (term for node in nodes for axes in _tensors(facts.axes.get(node)) for term in axes)
    return {atom for term in terms for atom in atoms(term)}


def _tensors(axes: object) -> Iterator[list[Term]]:
    """Yield the axes of every tensor of a node's value."""
    if isinstance(axes, list) and axes:
        yield from (own for own in axes if own) if isinstance(axes[0], list | None) else [axes]


def _reaching(ends: set[fx.Node]) -> set[fx.Node]:
    """All nodes that one of `ends` depends on; an end itself only if another end depends on it."""
    found: set[fx.Node] = set()
    waiting = list(ends)
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source not in found:
                found.add(source)
                waiting.append(source)
    return found


def _segments(term: Term) -> Iterator[Term]:
    """Yield the segments and cases of an axis, each a space of its own."""
    term = resolve(term)
    if isinstance(term, Sum | Case):
        for part in term.parts:
            yield from _segments(part)
    else:
        yield term


def _telling(term: Term, groups: Mapping[Atom, str]) -> set[Atom]:
    """The atoms that a space is known by.

    These are the atoms that move. If none moves, these are the atoms that stay, without positions
    and vocabularies.
    """
    every = [atom for atom in atoms(term) if atom.size > 1]
    moving = {atom for atom in every if atom in groups}
    return moving or {atom for atom in every if not _is_place(atom)}


def _is_place(atom: Atom) -> bool:
    """Whether an axis counts positions or words of a vocabulary.

    A convolution along features does not make them positions: they were free before it.
    """
    return atom.reason == "vocabulary" or (atom.given and atom.reason.startswith("space of"))


def _join(
    spaces: dict[frozenset[Atom], tuple[fx.Node, int]], known_by: frozenset[Atom], node: fx.Node
) -> None:
    """Add a space, or join it with those that it shares an atom with."""
    size = math.prod(atom.size for atom in known_by)
    for other in [known for known in spaces if known & known_by]:
        node, before = spaces.pop(other)
        known_by, size = known_by | other, max(size, before)
    spaces[known_by] = (node, size)


def _space(
    known_by: frozenset[Atom], node: fx.Node, size: int, groups: Mapping[Atom, str]
) -> FeatureSpace:
    moving = (groups[atom] for atom in known_by if atom in groups)
    names = tuple(sorted(moving, key=lambda name: int(name[1:])))
    in_order = sorted(known_by, key=lambda atom: atom.serial)
    reasons = dict.fromkeys(atom.reason for atom in in_order if atom.reason)
    why = "" if names else "; ".join(reasons) or "no tensor of the state holds it"
    return FeatureSpace(node.name, size, names, why)
