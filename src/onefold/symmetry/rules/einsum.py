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
    """Letters of the result pass; the others are contracted or summed over.

    A letter of the result that several operands carry is a batch axis.
    """
    operands: list[fx.Node] = list(call["tensors"])
    inputs, result = letters(call["equation"], [len(call.shape(x)) for x in operands])
    terms: dict[str, Term] = {}
    places: dict[str, list[tuple[fx.Node, int]]] = {}
    for x, carried in zip(operands, inputs, strict=True):
        if max(Counter(carried).values(), default=1) > 1:
            raise TermError("a diagonal in einsum")
        for axis, (letter, term) in enumerate(zip(carried, call.axes(x), strict=True)):
            if size(term) == 1:
                terms.setdefault(letter, UNIT)
                continue
            places.setdefault(letter, []).append((x, axis))
            if size(terms.get(letter, UNIT)) == 1:
                terms[letter] = term
            unify(terms[letter], term)
    kept = [terms[letter] for letter in result]
    for letter, carriers in places.items():
        if letter not in result and len(carriers) == 2:
            contract(call, *carriers[0], *carriers[1])
        else:
            for x, axis in carriers:
                call.use(x, axis, "producer")
        if len(carriers) > (1 if letter in result else 2):
            restrict(terms[letter], PERMUTATION)
        if letter not in result:
            call.mix(terms[letter], kept)
            if len(carriers) == 1:
                restrict(terms[letter], MEAN_FIXING)
    call.kind("pre")
    return [resolve(term) for term in kept]


def letters(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """The letters of every operand and of the result; unused letters replace an ellipsis.

    Args:
        equation: equation of einsum.
        ranks: number of axes of every operand.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    operands = left.split(",")
    unused = [c for c in string.ascii_letters if c not in equation]
    counts = [rank - len(x.replace("...", "")) for rank, x in zip(ranks, operands, strict=True)]
    hidden = [count for count, x in zip(counts, operands, strict=True) if "..." in x]
    ellipsis = unused[: max(hidden, default=0)]
    operands = [
        x.replace("...", "".join(ellipsis[len(ellipsis) - count :]))
        for x, count in zip(operands, counts, strict=True)
    ]
    if not arrow:
        every = Counter("".join(operands))
        right = "..." + "".join(sorted(c for c, n in every.items() if n == 1 and c not in ellipsis))
    return operands, right.replace("...", "".join(ellipsis))
