"""Scaled dot-product attention as one operator: softmax(q k' / sqrt(d) + mask) v.

It may have fewer heads of keys than of queries.
"""

from __future__ import annotations

from onefold.symmetry.rules.call import Axes, Call
from onefold.symmetry.rules.contraction import contract
from onefold.symmetry.rules.pointwise import broadcast
from onefold.symmetry.rules.registry import rule
from onefold.symmetry.terms import (
    ALL,
    PERMUTATION,
    Term,
    TermError,
    freeze,
    resolve,
    restrict,
    size,
)
from onefold.symmetry.unification import split, unify


@rule("scaled_dot_product_attention")
def attention(call: Call) -> Axes:
    """Queries (..., L, d), keys (..., S, d) and values (..., S, e) give (..., L, e).

    Heads are among the leading axes. d is contracted between two features. S is permuted along with
    the mask. e passes unchanged, since the softmax weighs rows of values.
    """
    query, key, value, mask = call["query"], call["key"], call["value"], call.get("attn_mask")
    q, k, v = call.axes(query), call.axes(key), call.axes(value)
    if not len(q) == len(k) == len(v):
        raise TermError("attention over tensors of different rank")
    unify(q[-1], k[-1])
    unify(k[-2], v[-2])
    if call.get("is_causal"):
        freeze(q[-2], "order of a causal mask")
        freeze(k[-2], "order of a causal mask")
    batch = [_heads(call, *terms) for terms in zip(q[:-2], k[:-2], v[:-2], strict=True)]
    scores = [*batch, q[-2], k[-2]]
    for term in scores:
        restrict(term, PERMUTATION)
    if call.is_tensor(mask):
        scores = broadcast([scores, call.axes(mask)], PERMUTATION, PERMUTATION)
        if mask in call.facts.origin:
            # a learned bias moves with its heads and positions
            for axis in range(len(call.shape(mask))):
                call.use(mask, axis, "table")
    contract(call, query, -1, key, -1)
    call.mix(q[-1], scores)
    call.mix(k[-2], [*batch, q[-2], v[-1]])
    call.kind("pre")
    return [*batch, q[-2], v[-1]]


def _heads(call: Call, q: Term, k: Term, v: Term) -> Term:
    """One of the leading axes: equal, broadcast, or queries = keys x repeats.

    The last is grouped-query attention.
    """
    if size(q) != size(k) and size(k) != 1 and call.get("enable_gqa"):
        unify(k, v)
        group, _ = split(q, size(k), size(q) // size(k))
        unify(group, k)
        return resolve(q)
    return broadcast([[q], [k], [v]], ALL, ALL)[0]
