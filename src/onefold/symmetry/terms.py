"""Axis terms: the language in which operators say how the axes of their tensors belong together.

    T ::= Atom(size) | Prod(T...) | Sum(T...) | Case(i, T...)

An atom carries one unknown map of its coordinates. Prod is a row-major composite (heads x
head_dim), Sum a concatenation (the segments of a fused weight), Case one term for each value of the
index atom i, which is another axis of the same tensor (a stacked q, k, v). Operators only impose
equalities (unification.py), `freeze` (an axis stays in place) and `restrict` (which classes of maps
they commute with). An atom that an equality has bound represents another term; `resolve` follows
that.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from onefold.symmetry.axes import MAP_CLASSES

# No class of maps: a dense map can be written into the weights around, whether or not it keeps the
# function.
WRITABLE = "writable"
# No classes of maps either: classes that would pass if the learned scales of norms were ones.
FOLDED = {
    "orthogonal": "orthogonal, scales folded",
    "orthogonal_mean": "orthogonal_mean, scales folded",
}
ALL = frozenset(MAP_CLASSES) | {WRITABLE, *FOLDED.values()}
PERMUTATION = frozenset({"permutation", WRITABLE})
POSITIVE = frozenset({"permutation", "scale", WRITABLE})
ODD = frozenset({"permutation", "sign", WRITABLE})
DIAGONAL = frozenset({"permutation", "scale", "sign", WRITABLE})
MEAN_FIXING = frozenset({"permutation", "orthogonal_mean", WRITABLE, FOLDED["orthogonal_mean"]})
ORTHOGONAL = frozenset({"permutation", "sign", *FOLDED, WRITABLE, *FOLDED.values()})

# The reason of atoms that count the segments of an axis, which a restart may tell apart.
SEGMENTS = "index of segments"

_serial = itertools.count()


class TermError(Exception):
    """Two axes of different size were to be equal, so that the rule does not understand this call.

    The solver then freezes the axes that reach it.
    """


class Atom:
    """An axis without known inner structure.

    Attributes:
        size: number of coordinates.
        frozen: whether every coordinate stays in place.
        given: whether it was frozen from the start, as positions are, and not by an operator.
        reason: why it is frozen.
        maps: classes of maps that all operators so far allow.
        bound: term that it was found equal to, or None.
        origin: (node name, axis) of the view that created it, at which a restart may split it.
        serial: number of the atom, in the order of creation.
    """

    __slots__ = ("bound", "frozen", "given", "maps", "origin", "reason", "serial", "size")

    def __init__(
        self, size: int, frozen: bool = False, reason: str = "", maps: frozenset[str] = ALL
    ) -> None:
        self.serial = next(_serial)
        self.size = size
        self.frozen = self.given = frozen
        self.reason = reason
        self.maps = maps
        self.bound: Term | None = None
        self.origin: tuple[str, int] | None = None

    def part(self, size: int) -> Atom:
        """A part of this axis, of `size` coordinates, which is free or frozen as the axis is."""
        atom = Atom(size, self.frozen, self.reason, self.maps)
        atom.given = self.given
        return atom

    def __repr__(self) -> str:
        return f"{'!' if self.frozen else ''}a{self.serial}:{self.size}"


@dataclass(frozen=True, eq=False)
class Prod:
    """Row-major composite of its parts.

    Attributes:
        parts: the factors, outermost first.
    """

    parts: tuple[Term, ...]

    def __repr__(self) -> str:
        return "(" + "*".join(map(repr, self.parts)) + ")"


@dataclass(frozen=True, eq=False)
class Sum:
    """Concatenation of its parts.

    Attributes:
        parts: the segments, in order.
    """

    parts: tuple[Term, ...]

    def __repr__(self) -> str:
        return "(" + "+".join(map(repr, self.parts)) + ")"


@dataclass(frozen=True, eq=False)
class Case:
    """One term for each value of an index atom.

    Attributes:
        index: the index atom.
        parts: a term for each of its values.
    """

    index: Atom
    parts: tuple[Term, ...]

    def __repr__(self) -> str:
        return f"case[{self.index}]{self.parts}"


Term = Atom | Prod | Sum | Case
UNIT = Prod(())  # an axis of one coordinate


def size(term: Term) -> int:
    """The number of coordinates of a term."""
    if isinstance(term, Atom):
        return term.size
    if isinstance(term, Prod):
        return math.prod(size(part) for part in term.parts)
    if isinstance(term, Sum):
        return sum(size(part) for part in term.parts)
    return size(term.parts[0])


def fresh(count: int, frozen: bool = False, reason: str = "", maps: frozenset[str] = ALL) -> Term:
    """A new axis of `count` coordinates: an atom, or UNIT for one coordinate."""
    return UNIT if count == 1 else Atom(count, frozen, reason, maps)


def product(parts: Sequence[Term]) -> Term:
    """The resolved row-major composite of `parts`."""
    return resolve(Prod(tuple(parts)))


def concatenation(parts: Sequence[Term]) -> Term:
    """The resolved concatenation of `parts`.

    A part of one coordinate stays in place: it has nothing to move.
    """
    segments = [Atom(1, True, "single coordinate") if size(p) == 1 else p for p in parts]
    return resolve(Sum(tuple(segments)))


def resolve(term: Term) -> Term:
    """The term with all bindings followed.

    Nested products and sums are flattened and empty segments dropped.
    """
    if isinstance(term, Atom):
        if term.bound is None:
            return term
        term.bound = resolve(term.bound)
        return term.bound
    if isinstance(term, Prod):
        return _resolve_product(term)
    if isinstance(term, Sum):
        parts: list[Term] = []
        for part in map(resolve, term.parts):
            if size(part):
                parts.extend(part.parts if isinstance(part, Sum) else [part])
        return parts[0] if len(parts) == 1 else Sum(tuple(parts))
    parts = [resolve(part) for part in term.parts]
    index = resolve(term.index)
    if not live(parts) or all(repr(part) == repr(parts[0]) for part in parts):
        return parts[0]
    if not isinstance(index, Atom):
        # The index itself was refined, so that one atom no longer tells its cases apart.
        for part in parts:
            freeze(part, "index axis was split")
        return parts[0]
    return Case(index, tuple(parts))


def _resolve_product(term: Prod) -> Term:
    parts: list[Term] = []
    for part in map(resolve, term.parts):
        parts.extend(part.parts if isinstance(part, Prod) else [part])
    for k, index in enumerate(parts):  # i x Case_i(a, b, ...) is the concatenation a + b + ...
        end = k + 1
        while isinstance(index, Atom) and end < len(parts) and _is_case_of(parts[end], index):
            end += 1
        if isinstance(index, Atom) and end > k + 1:
            segments = [
                Prod(tuple(substitute(part, index, value) for part in parts[k + 1 : end]))
                for value in range(index.size)
            ]
            return resolve(Prod((*parts[:k], Sum(tuple(segments)), *parts[end:])))
    return parts[0] if len(parts) == 1 else Prod(tuple(parts))


def _is_case_of(term: Term, index: Atom) -> bool:
    return isinstance(term, Case) and resolve(term.index) is index


def substitute(term: Term, index: Atom, value: int) -> Term:
    """The term with the index atom fixed at `value`."""
    term = resolve(term)
    if isinstance(term, Case) and term.index is index:
        return term.parts[value]
    if isinstance(term, Prod | Sum):
        return resolve(type(term)(tuple(substitute(part, index, value) for part in term.parts)))
    return term


def atoms(term: Term, cases: bool = True) -> list[Atom]:
    """The unbound atoms of a term in order, index atoms of cases last.

    Args:
        term: the term.
        cases: whether atoms inside cases are listed.
    """
    term = resolve(term)
    if isinstance(term, Atom):
        return [term]
    if isinstance(term, Case) and not cases:
        return []
    inside = [atom for part in term.parts for atom in atoms(part, cases)]
    return [*inside, term.index] if isinstance(term, Case) else inside


def segments_of(axes: Sequence[Term]) -> Iterator[list[Atom | Case]]:
    """Yield the blocks of a tensor between the boundaries of its segments.

    A block is the list of the atoms and cases of all of its axes.
    """

    def parts(term: Term) -> list[list[Atom | Case]]:
        term = resolve(term)
        if isinstance(term, Atom | Case):
            return [[term]]
        if isinstance(term, Sum):
            return [block for part in term.parts for block in parts(part)]
        return [
            list(itertools.chain(*choice)) for choice in itertools.product(*map(parts, term.parts))
        ]

    for choice in itertools.product(*map(parts, axes)):
        yield list(itertools.chain(*choice))


def cases(term: Term) -> list[Case]:
    """The cases in a term, outermost only."""
    term = resolve(term)
    if isinstance(term, Case):
        return [term]
    return [] if isinstance(term, Atom) else [case for part in term.parts for case in cases(part)]


def freeze(term: Term, reason: str) -> None:
    """Fix every coordinate of the term; of several reasons for an atom the first one is stored."""
    for atom in atoms(term):
        if not atom.frozen:
            atom.frozen, atom.reason = True, reason


def restrict(term: Term, maps: frozenset[str]) -> None:
    """Allow only these classes of maps, of those that were allowed before."""
    for atom in atoms(term):
        atom.maps &= maps


def live(terms: Iterable[Term]) -> bool:
    """Whether any atom of the terms may still move."""
    return any(not atom.frozen for term in terms for atom in atoms(term))
