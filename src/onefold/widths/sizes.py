"""How long axes become if groups get other widths, and what must keep one length.

An axis is a term over groups (see symmetry/axes.py). A product becomes the product of the new
lengths of its parts, a concatenation their sum. A `Case` has one term for each index of another
axis of the same tensor, so that all its terms must keep one length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from onefold.symmetry.axes import Case, Fixed, Live, Prod, Sum, Term
from onefold.symmetry.maps import leaves
from onefold.symmetry.spec import SymmetrySpec


def new_size(term: Term, widths: Mapping[str, int]) -> int:
    """The number of coordinates of a term once the groups `widths` have these widths."""
    if isinstance(term, Live):
        return widths.get(term.group, term.size)
    if isinstance(term, Fixed):
        return term.size
    sizes = [new_size(part, widths) for part in term.parts]
    if isinstance(term, Prod):
        return math.prod(sizes)
    return sum(sizes) if isinstance(term, Sum) else sizes[0]


def leading(term: Term, count: int, widths: Mapping[str, int]) -> int | None:
    """The new size of the outer factor of a term that has `count` coordinates before.

    A grouped convolution with 4 groups has the channels 4 x n, of which the outer factor is 4.

    Returns:
        None if the term has no such factor.
    """
    if count == term.size:
        return new_size(term, widths)
    if count == 1:
        return 1
    if isinstance(term, Case):
        return leading(term.parts[0], count, widths)
    if isinstance(term, Sum):  # every segment has its share
        found = []
        for part in term.parts:
            share, rest = divmod(count * part.size, term.size)
            outer = None if rest else leading(part, share, widths)
            if outer is None:
                return None
            found.append(outer)
        return sum(found)
    if isinstance(term, Prod):
        first, rest_of = term.parts[0], term.parts[1:]
        if count <= first.size:
            return leading(first, count, widths)
        if count % first.size:
            return None
        inner = leading(Prod(rest_of), count // first.size, widths)
        return None if inner is None else new_size(first, widths) * inner
    return None


def units_of_steps(spec: SymmetrySpec, name: str) -> int:
    """How many coordinates of every axis one unit of a group stands for, at least.

    A head is a unit of many coordinates, since its inner ones never occur without it.
    """
    strides: list[int] = []
    for axes in spec.axes.values():
        for term in axes:
            strides += _strides(term, name, 1)
    return math.gcd(*strides) if strides else 1


def _strides(term: Term, name: str, inner: int) -> Iterator[int]:
    if isinstance(term, Live):
        if term.group == name:
            yield inner
    elif isinstance(term, Prod):
        for k, part in enumerate(term.parts):
            rest = math.prod(other.size for other in term.parts[k + 1 :])
            yield from _strides(part, name, inner * rest)
    elif not isinstance(term, Fixed):
        for part in term.parts:
            yield from _strides(part, name, inner)


def tied_by_cases(spec: SymmetrySpec) -> list[frozenset[str]]:
    """Sets of groups that have one width, as they lie on one axis at different indices."""
    tied: dict[str, set[str]] = {}
    for axes in spec.axes.values():
        for term in axes:
            for case in _cases(term):
                for row in zip(*(list(leaves(part)) for part in case.parts), strict=False):
                    names = {leaf.group for leaf in row if isinstance(leaf, Live)}
                    if len(names) > 1:
                        together = set().union(*(tied.get(name, {name}) for name in names))
                        tied.update(dict.fromkeys(together, together))
    return list(dict.fromkeys(frozenset(names) for names in tied.values()))


def unequal_case(spec: SymmetrySpec, widths: Mapping[str, int]) -> tuple[str, list[str]] | None:
    """A tensor whose rows would have unequal lengths, and the groups there; None if none has."""
    for name, axes in spec.axes.items():
        for term in axes:
            for case in _cases(term):
                if len({new_size(part, widths) for part in case.parts}) > 1:
                    found = (leaf.group for leaf in leaves(case) if isinstance(leaf, Live))
                    return name, list(dict.fromkeys(found))
    return None


def _cases(term: Term) -> Iterator[Case]:
    if isinstance(term, Case):
        yield term
    if not isinstance(term, Live | Fixed):
        for part in term.parts:
            yield from _cases(part)
