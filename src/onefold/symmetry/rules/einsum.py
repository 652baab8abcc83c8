"""Einsum: every letter is one axis, which all operands that carry it share."""

from __future__ import annotations

import string
from collections import Counter

from torch import fx

from onefold.symmetry.rules.call import Axes, Call
from onefold.symmetry.rules.contraction import contract
from onefold.symmetry.rules.registry import rule
from onefold.symmetry.terms import (
    MEAN_FIXING,
    PERMUTATION,
    UNIT,
    Term,
    TermError,
    resolve,
    restrict,
    size,
)
from onefold.symmetry.unification import unify


@rule("einsum")
def einsum(call: Call) -> Axes:
    """Letters of the result pass, or are batch axes where several operands carry them; the others
    are contracted or summed over.
    """
    operands: list[fx.Node] = list(call["tensors"])
    inputs, result = letters(call["equation"], [len(call.shape(x)) for x in operands])
    terms: dict[str, Term] = {}
    places: dict[str, list[tuple[fx.Node, int]]] = {}
    for x, own in zip(operands, inputs, strict=True):
        if max(Counter(own).values(), default=1) > 1:
            raise TermError("a diagonal in einsum")
        for axis, (letter, term) in enumerate(zip(own, call.axes(x), strict=True)):
            if size(term) == 1:
                terms.setdefault(letter, UNIT)
                continue
            places.setdefault(letter, []).append((x, axis))
            if size(terms.get(letter, UNIT)) == 1:
                terms[letter] = term
            unify(terms[letter], term)
    kept = [terms[letter] for letter in result]
    for letter, carried in places.items():
        if letter not in result and len(carried) == 2:
            contract(call, *carried[0], *carried[1])
        else:
            for x, axis in carried:
                call.use(x, axis, "producer")
        if len(carried) > (1 if letter in result else 2):
            restrict(terms[letter], PERMUTATION)
        if letter not in result:
            call.mix(terms[letter], kept)
            if len(carried) == 1:
                restrict(terms[letter], MEAN_FIXING)
    call.kind("pre")
    return [resolve(term) for term in kept]


def letters(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """The letters of every operand and of the result, with capital or unused letters put in for an
    ellipsis.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    operands = left.split(",")
    unused = [c for c in string.ascii_letters if c not in equation]
    counts = [rank - len(own.replace("...", "")) for rank, own in zip(ranks, operands, strict=True)]
    ellipsis = unused[
        : max(
            [count for count, own in zip(counts, operands, strict=True) if "..." in own], default=0
        )
    ]
    operands = [
        own.replace("...", "".join(ellipsis[len(ellipsis) - count :]))
        for own, count in zip(operands, counts, strict=True)
    ]
    if not arrow:
        every = Counter("".join(operands))
        right = "..." + "".join(sorted(c for c, n in every.items() if n == 1 and c not in ellipsis))
    return operands, right.replace("...", "".join(ellipsis))
