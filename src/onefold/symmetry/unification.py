"""Unification of axis terms: which axes are the same, and which have segments or factors.

`unify` (two axes move together), `cut` (an axis has segments), `split` (an axis has factors). Terms
are bound as in first-order unification (Robinson 1965). A clash is refined by greatest common
divisor or by segment boundary; otherwise it freezes both sides, which is always safe. Binding an
atom to a term that contains it (the occurs check) freezes too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from onefold.symmetry.terms import (
    SEGMENTS,
    UNIT,
    Atom,
    Case,
    Prod,
    Sum,
    Term,
    TermError,
    atoms,
    concatenation,
    freeze,
    product,
    resolve,
    restrict,
    size,
    substitute,
)


def unify(a: Term, b: Term) -> None:
    """Impose that two axes carry the same map.

    Raises:
        TermError: their sizes differ.
    """
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
    """Unify the innermost factors, then the rest.

    If one innermost factor is longer, both are refined by their greatest common divisor.
    """
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
    left = product((*a.parts[:-1], *split(x, size(x) // common, common)))
    right = product((*b.parts[:-1], *split(y, size(y) // common, common)))
    unify(left, right)


def _unify_sums(a: Sum, b: Sum) -> None:
    """Unify the first segments, then the rest; a longer one is cut at the other's boundary."""
    x, y = a.parts[0], b.parts[0]
    if size(x) == size(y):
        unify(x, y)
        unify(resolve(Sum(a.parts[1:])), resolve(Sum(b.parts[1:])))
        return
    longer, shorter = (a, b) if size(x) > size(y) else (b, a)
    boundary = size(shorter.parts[0])
    sizes = [boundary, size(longer.parts[0]) - boundary]
    segments = cut(longer.parts[0], sizes, "segments do not match")
    unify(resolve(Sum((*segments, *longer.parts[1:]))), shorter)


def cut(term: Term, sizes: Sequence[int], reason: str = "cut inside a factor") -> list[Term]:
    """The consecutive segments of an axis.

    The axis is frozen if its structure has no boundaries there.

    Args:
        term: the axis.
        sizes: sizes of the segments, which add up to that of the axis.
        reason: reason of a frozen axis.

    Raises:
        TermError: the sizes do not add up.
    """
    term = resolve(term)
    if sum(sizes) != size(term):
        raise TermError(f"segments {list(sizes)} of {term}")
    if len(sizes) == 1:
        return [term]
    if isinstance(term, Atom):
        segments: list[Term] = [term.part(n) for n in sizes]
        term.bound = Sum(tuple(s for s in segments if size(s)))
        return segments
    if isinstance(term, Sum):
        return _cut_sum(term, sizes, reason)
    if isinstance(term, Prod) and term.parts:
        inner = size(Prod(term.parts[1:]))
        if all(n % inner == 0 for n in sizes):
            outers = cut(term.parts[0], [n // inner for n in sizes], reason)
            return [product((outer, *term.parts[1:])) for outer in outers]
    if isinstance(term, Case):
        cases = [cut(part, sizes, reason) for part in term.parts]
        by_segment = zip(*cases, strict=True)
        return [resolve(Case(term.index, parts)) for parts in by_segment]
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
    """The factors of an axis of outer * inner coordinates, row-major.

    The axis is frozen if its structure has no such factors.

    Raises:
        TermError: the axis has another size.
    """
    term = resolve(term)
    if outer * inner != size(term):
        raise TermError(f"factors {outer} x {inner} of {term}")
    if outer == 1:
        return UNIT, term
    if inner == 1:
        return term, UNIT
    if isinstance(term, Atom):
        factors = term.part(outer), term.part(inner)
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
    """Impose that maps keep consecutive blocks of coordinates together, as for a grouped norm.

    Segments are not tied to each other.

    Args:
        term: the axis.
        block: number of coordinates of a block.
        reason: reason of a frozen axis.

    Returns:
        (blocks, coordinates in a block) for each segment that has several blocks.
    """
    term = resolve(term)
    if isinstance(term, Sum):
        if any(size(part) % block for part in term.parts):
            freeze(term, reason)
            return []
        return [pair for part in term.parts for pair in require_blocks(part, block, reason)]
    return [split(term, size(term) // block, block)] if size(term) > block else []
