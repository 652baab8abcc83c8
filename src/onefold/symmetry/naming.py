"""Solving terms, which share mutable atoms, turned into the plain terms of a SymmetrySpec."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from onefold.symmetry import axes as plain
from onefold.symmetry.terms import Atom, Case, Prod, Term, atoms, resolve


class Naming:
    """Names for atoms: g0, g1, ... for those that may move, f0, f1, ... for those that stay.

    Both are numbered in the order in which they are met.

    Args:
        tensors: axes of the state's tensors; an atom that may move there is a group.

    Attributes:
        groups: atom that may move -> its name.
    """

    def __init__(self, tensors: Iterable[Sequence[Term]]) -> None:

        self.groups: dict[Atom, str] = {}
        self._fixed: dict[Atom, str] = {}
        for axes in tensors:
            for term in axes:
                for atom in atoms(term):
                    if not atom.frozen and atom.size > 1:
                        self.groups.setdefault(atom, f"g{len(self.groups)}")

    def name(self, atom: Atom) -> str:
        """The name of a group, or of an atom that stays."""
        if atom in self.groups:
            return self.groups[atom]
        return self._fixed.setdefault(atom, f"f{len(self._fixed)}")

    def term(self, term: Term) -> plain.Term:
        """The plain form of a term."""
        term = resolve(term)
        if isinstance(term, Atom):
            if term in self.groups:
                return plain.Live(self.groups[term], term.size)
            return plain.Fixed(self.name(term), term.size)
        parts = tuple(self.term(part) for part in term.parts)
        if isinstance(term, Case):
            return plain.Case(self.name(term.index), parts)
        return plain.Prod(parts) if isinstance(term, Prod) else plain.Sum(parts)

    def axes(self, axes: Sequence[Term]) -> plain.Axes:
        """The plain form of a tensor's axes."""
        return tuple(self.term(term) for term in axes)
