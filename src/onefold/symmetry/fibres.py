"""The fibre rule: an atom d may take another map for each index of an atom h.

That is so if h lies beside d in every tensor that holds d, and no operator mixes along h while it
keeps d. It gives the maps inside the blocks of grouped convolutions and group norms, and one map
for each head in attention.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from onefold.symmetry.terms import Atom, Prod, Term, atoms, cases, live, resolve, substitute

Block = list[list[Atom]]


def fibres(
    tensors: Iterable[Sequence[Term]], mixes: Iterable[tuple[Term, Term]]
) -> dict[Atom, list[Atom]]:
    """For each live atom, the atoms per index of which its map may differ, in order.

    Args:
        tensors: the axis terms of every tensor of the network, parameters and features.
        mixes: (kept, mixed) terms, see `Call.mix`.
    """
    beside: dict[Atom, set[Atom]] = {}
    seen: set[str] = set()
    for axes in tensors:
        axes = [resolve(term) for term in axes]
        if repr(axes) in seen or not live(axes):
            continue
        seen.add(repr(axes))
        for block in blocks(axes):
            _neighbours(block, beside)
    for kept, mixed in mixes:
        for atom in atoms(kept):
            if atom in beside:
                beside[atom] -= set(atoms(mixed))
    # Of two atoms that could depend on each other, the later one does.
    for atom, others in beside.items():
        later = {h for h in others if atom in beside.get(h, ()) and h.serial > atom.serial}
        beside[atom] = others - later
    return {
        atom: sorted(others, key=lambda h: h.serial) for atom, others in beside.items() if others
    }


def _neighbours(block: Block, beside: dict[Atom, set[Atom]]) -> None:
    every = [atom for axis in block for atom in axis]
    for axis in block:
        for atom in axis:
            if atom.frozen:
                continue
            # The neighbour must be unambiguous: once on the same axis, or once in the whole tensor.
            near = {
                h
                for h in every
                if h is not atom and (axis.count(h) == 1 or (h not in axis and every.count(h) == 1))
            }
            if axis.count(atom) > 1:
                near = set()
            beside[atom] = near if atom not in beside else beside[atom] & near


def blocks(axes: Sequence[Term]) -> Iterator[Block]:
    """Yield the blocks of a tensor in which each axis is a plain product of atoms.

    Cases are expanded first, then segments.
    """
    axes = [resolve(term) for term in axes]
    index = next((case.index for term in axes for case in cases(term)), None)
    if index is not None:
        for value in range(index.size):
            yield from blocks([substitute(term, index, value) for term in axes])
        return
    for block in itertools.product(*[_segments(term) for term in axes]):
        yield [list(axis) for axis in block]


def _segments(term: Term) -> list[tuple[Atom, ...]]:
    if isinstance(term, Atom):
        return [(term,)]
    if isinstance(term, Prod):
        return [
            tuple(itertools.chain(*choice))
            for choice in itertools.product(*[_segments(part) for part in term.parts])
        ]
    return [segment for part in term.parts for segment in _segments(part)]
