"""Axis terms and their unification: the algebra in which operators say how the axes of their tensors belong together.

    T ::= Atom(size) | Prod(T...) | Sum(T...) | Case(i, T...)

An atom carries one unknown map of its coordinates. Prod is a row-major composite (heads x head_dim), Sum a concatenation (the segments
of a fused weight), Case one term for each value of the index atom i, which is another axis of the same tensor (a stacked q, k, v).
Operators only impose equalities: `unify` (two axes move together), `split` (an axis has factors), `cut` (an axis has segments),
`freeze` (an axis stays in place) and `restrict` (which classes of maps the operator commutes with). Atoms are bound to terms as in
first-order unification (Robinson 1965); a clash is refined by greatest common divisor or by segment boundary, else it freezes both
sides, which is always safe. Binding an atom to a term that contains it (the occurs check) freezes too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from onefold.symmetry.spec import MAP_CLASSES

# Not a class of maps: says that a dense map can be written into the weights around, whether or not it keeps the function.
WRITABLE = "writable"
# Likewise: what would pass if the learned scales of norms were ones.
FOLDED = {"orthogonal": "orthogonal, scales folded", "orthogonal_mean": "orthogonal_mean, scales folded"}
ALL = frozenset(MAP_CLASSES) | {WRITABLE, *FOLDED.values()}
PERMUTATION = frozenset({"permutation", WRITABLE})
POSITIVE = frozenset({"permutation", "scale", WRITABLE})
ODD = frozenset({"permutation", "sign", WRITABLE})
DIAGONAL = frozenset({"permutation", "scale", "sign", WRITABLE})
MEAN_FIXING = frozenset({"permutation", "orthogonal_mean", WRITABLE, FOLDED["orthogonal_mean"]})
ORTHOGONAL = frozenset({"permutation", "sign", *FOLDED, WRITABLE, *FOLDED.values()})

SEGMENTS = "index of segments"  # the reason of atoms that count the segments of an axis, which a restart may tell apart

_serial = itertools.count()


class TermError(Exception):
    """Two axes of different size were to be equal: the rule does not understand this call, which the solver then freezes."""


class Atom:
    """An axis without known inner structure: `size` coordinates and the map classes (`maps`) that all operators so far allow.

    bound: the term that it was found equal to. origin: (node name, axis) of the view that created it, where a restart may split it.
    """

    __slots__ = ("bound", "frozen", "maps", "origin", "reason", "serial", "size")

    def __init__(self, size: int, frozen: bool = False, reason: str = "", maps: frozenset[str] = ALL) -> None:
        self.serial = next(_serial)
        self.size = size
        self.frozen = frozen
        self.reason = reason
        self.maps = maps
        self.bound: Term | None = None
        self.origin: tuple[str, int] | None = None

    def __repr__(self) -> str:
        return f"{'!' if self.frozen else ''}a{self.serial}:{self.size}"


@dataclass(frozen=True, eq=False)
class Prod:
    """Row-major composite of its parts."""

    parts: tuple[Term, ...]

    def __repr__(self) -> str:
        return "(" + "*".join(map(repr, self.parts)) + ")"


@dataclass(frozen=True, eq=False)
class Sum:
    """Concatenation of its parts."""

    parts: tuple[Term, ...]

    def __repr__(self) -> str:
        return "(" + "+".join(map(repr, self.parts)) + ")"


@dataclass(frozen=True, eq=False)
class Case:
    """One term for each value of the atom `index`."""

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
    """The resolved concatenation of `parts`. A part of one coordinate stays in place: it has nothing to move."""
    return resolve(Sum(tuple(Atom(1, True, "single coordinate") if size(p) == 1 else p for p in parts)))


def resolve(term: Term) -> Term:
    """The term with all bindings followed, nested products and sums flattened and empty segments dropped."""
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
    if not isinstance(index, Atom):  # the index itself was refined: its cases can no longer be told apart by one atom
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
            segments = [Prod(tuple(substitute(part, index, value) for part in parts[k + 1 : end])) for value in range(index.size)]
            return resolve(Prod((*parts[:k], Sum(tuple(segments)), *parts[end:])))
    return parts[0] if len(parts) == 1 else Prod(tuple(parts))


def _is_case_of(term: Term, index: Atom) -> bool:
    return isinstance(term, Case) and resolve(term.index) is index


def substitute(term: Term, index: Atom, value: int) -> Term:
    """The term where the index atom has the given value."""
    term = resolve(term)
    if isinstance(term, Case) and term.index is index:
        return term.parts[value]
    if isinstance(term, Prod | Sum):
        return resolve(type(term)(tuple(substitute(part, index, value) for part in term.parts)))
    return term


def atoms(term: Term, cases: bool = True) -> list[Atom]:
    """The unbound atoms of a term in order, index atoms of cases last. `cases` off: without what stands in cases."""
    term = resolve(term)
    if isinstance(term, Atom):
        return [term]
    if isinstance(term, Case) and not cases:
        return []
    found = [atom for part in term.parts for atom in atoms(part, cases)]
    return [*found, term.index] if isinstance(term, Case) else found


def segments_of(axes: Sequence[Term]) -> Iterator[list[Atom | Case]]:
    """The blocks of a tensor between the boundaries of its segments, each as the atoms and cases of all of its axes."""

    def parts(term: Term) -> list[list[Atom | Case]]:
        term = resolve(term)
        if isinstance(term, Atom | Case):
            return [[term]]
        if isinstance(term, Sum):
            return [block for part in term.parts for block in parts(part)]
        return [list(itertools.chain(*choice)) for choice in itertools.product(*map(parts, term.parts))]

    for choice in itertools.product(*map(parts, axes)):
        yield list(itertools.chain(*choice))


def cases(term: Term) -> list[Case]:
    """The cases in a term, outermost only."""
    term = resolve(term)
    if isinstance(term, Case):
        return [term]
    return [] if isinstance(term, Atom) else [case for part in term.parts for case in cases(part)]


def freeze(term: Term, reason: str) -> None:
    """Keep every coordinate of the term in place; the first reason given for an atom is kept."""
    for atom in atoms(term):
        if not atom.frozen:
            atom.frozen, atom.reason = True, reason


def restrict(term: Term, maps: frozenset[str]) -> None:
    """Allow only these classes of maps (intersected with what was allowed)."""
    for atom in atoms(term):
        atom.maps &= maps


def unify(a: Term, b: Term) -> None:
    """Impose that two axes carry the same map. Raises TermError where their sizes differ."""
    a, b = resolve(a), resolve(b)
    if a is b:
        return
    if size(a) != size(b):
        raise TermError(f"{a} against {b}")
    if size(a) == 1:
        return
    if isinstance(a, Atom) and isinstance(b, Atom):
        _bind(b, a) if a.frozen or not b.frozen else _bind(a, b)
    elif isinstance(a, Atom):
        _bind(a, b)
    elif isinstance(b, Atom):
        _bind(b, a)
    elif isinstance(a, Case) or isinstance(b, Case):
        _unify_cases(a, b)
    elif isinstance(a, Prod) and isinstance(b, Prod):
        _unify_products(a, b)
    elif isinstance(a, Sum) and isinstance(b, Sum):
        _unify_sums(a, b)
    else:
        total, other = (a, b) if isinstance(a, Sum) else (b, a)
        segments = cut(other, [size(part) for part in total.parts], "segments against factors")
        for part, segment in zip(total.parts, segments, strict=True):
            unify(part, segment)


def _bind(atom: Atom, term: Term) -> None:
    if atom in atoms(term):
        freeze(term, "an axis would contain itself")
        return
    if atom.frozen:
        freeze(term, atom.reason)
    restrict(term, atom.maps)
    atom.bound = term


def _unify_cases(a: Term, b: Term) -> None:
    case, other = (a, b) if isinstance(a, Case) else (b, a)
    assert isinstance(case, Case)
    for value, part in enumerate(case.parts):
        unify(part, substitute(other, case.index, value))


def _unify_products(a: Prod, b: Prod) -> None:
    """Compare innermost factors; where one is longer, both are refined by their greatest common divisor."""
    x, y = a.parts[-1], b.parts[-1]
    if size(x) == size(y):
        unify(x, y)
        unify(product(a.parts[:-1]), product(b.parts[:-1]))
        return
    common = math.gcd(size(x), size(y))
    if common == 1:
        freeze(a, "factors do not match")
        freeze(b, "factors do not match")
        return
    refined = [product((*term.parts[:-1], *split(last, size(last) // common, common))) for term, last in ((a, x), (b, y))]
    unify(*refined)


def _unify_sums(a: Sum, b: Sum) -> None:
    """Compare first segments; where one is longer, it is cut at the other's boundary."""
    x, y = a.parts[0], b.parts[0]
    if size(x) == size(y):
        unify(x, y)
        unify(resolve(Sum(a.parts[1:])), resolve(Sum(b.parts[1:])))
        return
    longer, shorter = (a, b) if size(x) > size(y) else (b, a)
    boundary = size(shorter.parts[0])
    segments = cut(longer.parts[0], [boundary, size(longer.parts[0]) - boundary], "segments do not match")
    unify(resolve(Sum((*segments, *longer.parts[1:]))), shorter)


def cut(term: Term, sizes: Sequence[int], reason: str = "cut inside a factor") -> list[Term]:
    """The consecutive segments of an axis, of the given sizes (which add up to its own). Freezes where the structure forbids it."""
    term = resolve(term)
    if sum(sizes) != size(term):
        raise TermError(f"segments {list(sizes)} of {term}")
    if len(sizes) == 1:
        return [term]
    if isinstance(term, Atom):
        segments: list[Term] = [Atom(n, term.frozen, term.reason, term.maps) for n in sizes]
        term.bound = Sum(tuple(s for s in segments if size(s)))
        return segments
    if isinstance(term, Sum):
        return _cut_sum(term, sizes, reason)
    if isinstance(term, Prod) and term.parts:
        inner = size(Prod(term.parts[1:]))
        if all(n % inner == 0 for n in sizes):
            return [product((outer, *term.parts[1:])) for outer in cut(term.parts[0], [n // inner for n in sizes], reason)]
    if isinstance(term, Case):
        cases = [cut(part, sizes, reason) for part in term.parts]
        return [resolve(Case(term.index, tuple(case[k] for case in cases))) for k in range(len(sizes))]
    freeze(term, reason)
    return [Atom(n, True, reason) for n in sizes]


def _cut_sum(term: Sum, sizes: Sequence[int], reason: str) -> list[Term]:
    segments: list[Term] = []
    rest = list(term.parts)
    for wanted in sizes:
        taken: list[Term] = []
        while wanted > 0:
            part = rest.pop(0)
            if size(part) > wanted:
                part, remainder = cut(part, [wanted, size(part) - wanted], reason)
                rest.insert(0, remainder)
            taken.append(part)
            wanted -= size(part)
        segments.append(resolve(Sum(tuple(taken))) if taken else Atom(0))
    return segments


def split(term: Term, outer: int, inner: int) -> tuple[Term, Term]:
    """The factors of an axis of outer * inner coordinates, row-major. Freezes where the structure forbids it."""
    term = resolve(term)
    if outer * inner != size(term):
        raise TermError(f"factors {outer} x {inner} of {term}")
    if outer == 1:
        return UNIT, term
    if inner == 1:
        return term, UNIT
    if isinstance(term, Atom):
        factors = Atom(outer, term.frozen, term.reason, term.maps), Atom(inner, term.frozen, term.reason, term.maps)
        term.bound = Prod(factors)
        return factors
    if isinstance(term, Case):
        cases = [split(part, outer, inner) for part in term.parts]
        outers, inners = zip(*cases, strict=True)
        return resolve(Case(term.index, outers)), resolve(Case(term.index, inners))
    if isinstance(term, Sum):
        if any(size(part) % inner for part in term.parts):
            return _frozen_factors(term, outer, inner)
        pairs = [split(part, size(part) // inner, inner) for part in term.parts]
        for pair in pairs[1:]:
            unify(pairs[0][1], pair[1])
        if all(size(pair[0]) == 1 for pair in pairs):
            return Atom(outer, True, SEGMENTS), resolve(pairs[0][1])
        return concatenation([pair[0] for pair in pairs]), resolve(pairs[0][1])
    return _split_product(term, outer, inner)


def _split_product(term: Prod, outer: int, inner: int) -> tuple[Term, Term]:
    left, missing = list(term.parts), inner
    right: list[Term] = []
    while missing > 1:
        factor = left.pop()
        count = size(factor)
        if missing % count == 0:
            right.insert(0, factor)
            missing //= count
            continue
        common = math.gcd(count, missing)
        if common == 1:
            return _frozen_factors(term, outer, inner)
        rest, taken = split(factor, count // common, common)
        left.append(rest)
        right.insert(0, taken)
        missing //= common
    return product(left), product(right)


def _frozen_factors(term: Term, outer: int, inner: int) -> tuple[Term, Term]:
    reason = "split across a factor or segment"
    freeze(term, reason)
    return Atom(outer, True, reason), Atom(inner, True, reason)


def require_blocks(term: Term, block: int, reason: str) -> list[tuple[Term, Term]]:
    """Impose that maps keep consecutive blocks of `block` coordinates together (a grouped norm), without tying segments to each other.

    Returns (blocks, coordinates in a block) for each segment that has several blocks.
    """
    term = resolve(term)
    if isinstance(term, Sum):
        if any(size(part) % block for part in term.parts):
            freeze(term, reason)
            return []
        return [pair for part in term.parts for pair in require_blocks(part, block, reason)]
    return [split(term, size(term) // block, block)] if size(term) > block else []


def live(terms: Iterable[Term]) -> bool:
    """Whether any atom of the terms may still move."""
    return any(not atom.frozen for term in terms for atom in atoms(term))
