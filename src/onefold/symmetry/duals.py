"""Dual tracking: if two features are multiplied and summed, one takes T and the other T^-T.

Queries and keys are the example: (T q)' (T^-T k) = q' k for every invertible T. For an atom that is
contracted like that, every node that holds it gets a parity. Operators keep the parity; such a
contraction needs opposite ones. If this works out, weights that make features of the other parity
take the inverse map, as consumers do. If it does not (one fused weight makes both sides), only maps
that are their own inverse transpose are left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import fx

from onefold.symmetry.rules.call import Facts, Use
from onefold.symmetry.terms import ORTHOGONAL, Atom, atoms

# Role of a tensor for features that take T -> its role for those that take the inverse transpose.
_DUAL = {"producer": "consumer", "bias": "consumer", "table": "consumer", "consumer": "producer"}


@dataclass(frozen=True)
class Parities:
    """Which nodes hold features that take the inverse transpose (T^-T) of an atom's map T.

    Attributes:
        odd: atom -> node -> whether its features take T^-T. Atoms without duals are missing.
    """

    odd: Mapping[Atom, Mapping[fx.Node, bool]]

    def role(self, use: Use, atom: Atom) -> str:
        """The role of a tensor for an atom, with its parity considered."""
        odd = _parity_of_use(use, self.odd[atom]) if atom in self.odd else False
        return _DUAL.get(use.role, "other") if odd else use.role

    def shows(self, atom: Atom, node: fx.Node) -> bool:
        """Whether a node's features take T itself."""
        return not self.odd.get(atom, {}).get(node, False)


def parities(facts: Facts) -> Parities:
    """The parities of every atom that is contracted between features.

    An atom that admits no parities is restricted to orthogonal maps.
    """
    contracted: dict[Atom, dict[fx.Node, tuple[fx.Node, fx.Node]]] = {}
    for node, x, y, term in facts.duals:
        for atom in atoms(term):
            if not atom.frozen:
                contracted.setdefault(atom, {})[node] = (x, y)
    holders: dict[Atom, dict[fx.Node, None]] = {atom: {} for atom in contracted}
    for node, axes in facts.axes.items():
        if node not in facts.origin:
            for atom in holders.keys() & _atoms_of(axes):
                holders[atom][node] = None
    odd: dict[Atom, Mapping[fx.Node, bool]] = {}
    for atom, pairs in contracted.items():
        colours = _two_colors(holders[atom], pairs)
        uses = [use for use in facts.uses if atom in atoms(use.term)]
        if colours is None or not all(_fits(use, colours) for use in uses):
            atom.maps &= ORTHOGONAL
        else:
            odd[atom] = colours
    return Parities(odd)


def _atoms_of(axes: Any) -> set[Atom]:
    if not axes:
        return set()
    several = isinstance(axes[0], list | None)  # an operator with several outputs
    every = [term for tensor in axes for term in tensor or []] if several else axes
    return {atom for term in every for atom in atoms(term)}


def _two_colors(
    holders: Mapping[fx.Node, None], pairs: Mapping[fx.Node, tuple[fx.Node, fx.Node]]
) -> dict[fx.Node, bool] | None:
    """Parities for all holders, the first of each connected part even; None if no parities fit."""
    edges: dict[fx.Node, list[tuple[fx.Node, bool]]] = {node: [] for node in holders}

    def tie(a: fx.Node, b: fx.Node, differ: bool) -> None:
        edges[a].append((b, differ))
        edges[b].append((a, differ))

    for node in {*holders, *(user for holder in holders for user in holder.users)}:
        inputs = [source for source in node.all_input_nodes if source in holders]
        if node in pairs:
            x, y = pairs[node]
            if node in holders or x not in holders or y not in holders:
                return None
            tie(x, y, True)
            continue
        for a, b in zip(inputs, [*inputs[1:], *([node] if node in holders else [])], strict=False):
            tie(a, b, False)
    found: dict[fx.Node, bool] = {}
    for start in holders:
        if start in found:
            continue
        found[start] = False
        waiting = [start]
        while waiting:
            node = waiting.pop()
            for other, differ in edges[node]:
                if other not in found:
                    found[other] = found[node] ^ differ
                    waiting.append(other)
                elif found[other] != found[node] ^ differ:
                    return None
    return found


def _parity_of_use(use: Use, odd: Mapping[fx.Node, bool]) -> bool | None:
    """The parity of the features that a tensor makes, or reads if it is a consumer.

    None if they have several parities.
    """
    read = {odd[source] for source in use.node.all_input_nodes if source in odd}
    if use.role != "consumer" and use.node in odd:
        return odd[use.node]
    return read.pop() if len(read) == 1 else None


def _fits(use: Use, odd: Mapping[fx.Node, bool]) -> bool:
    parity = _parity_of_use(use, odd)
    return parity is False or (parity is True and use.role in _DUAL)
