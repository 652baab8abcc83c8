"""Rows summed into places that an index names, as messages are at the nodes of a graph.

The features of every row pass.
"""

from __future__ import annotations

from onefold.symmetry.rules.call import Axes, Call, operator_name
from onefold.symmetry.rules.registry import rule
from onefold.symmetry.terms import (
    ALL,
    PERMUTATION,
    POSITIVE,
    Term,
    TermError,
    freeze,
    resolve,
    restrict,
    size,
)
from onefold.symmetry.unification import unify

_REDUCTIONS = {
    "sum": ALL,
    "add": ALL,
    "mean": ALL,
    "amax": POSITIVE,
    "amin": POSITIVE,
    "prod": PERMUTATION,
}
_WHY = "places of a scatter"


@rule("index_add", "index_copy", "index_reduce")
def by_index(call: Call) -> Axes:
    """self[index[i]] += source[i] along one axis; the index has that axis alone."""
    maps = ALL
    if call.name == "index_reduce":
        maps = _REDUCTIONS.get(str(call.get("reduce")), PERMUTATION)
    return _into(call, call.axes(call["source"]), int(call["dim"]), maps)


@rule("scatter", "scatter_add", "scatter_reduce")
def by_element(call: Call) -> Axes:
    """self[index[i, j], j] += src[i, j]: the index names a place for every element.

    If it is one row's place repeated along the other axes, as `expand` makes it, these pass.
    """
    source = call.first("src")
    if not call.is_tensor(source):
        raise TermError("a scatter of numbers")
    index = call["index"]
    while operator_name(index) in ("expand", "expand_as") and index.args:
        index = index.args[0]
    rows, places = call.axes(source), call.axes(index)
    dim = int(call["dim"]) % len(rows)
    for k, term in enumerate(rows):
        at = k - (len(rows) - len(places))
        if k != dim and at >= 0 and size(places[at]) != 1:
            unify(term, places[at])
            restrict(term, PERMUTATION)
    kind = None if call.name == "scatter_add" else call.get("reduce")
    maps = ALL if kind is None else _REDUCTIONS.get(str(kind), PERMUTATION)
    return _into(call, rows, dim, maps)


def _into(call: Call, rows: list[Term], dim: int, maps: frozenset[str]) -> Axes:
    """The axes of the tensor that rows are summed into.

    They are those of the rows, but for the axis along which places are named, which stays.
    """
    axes = call.axes(call.input)
    if len(axes) != len(rows):
        raise TermError("rows of another rank")
    for operand in (call.input, *(x for x in call.node.all_input_nodes if x is not call.input)):
        if call.is_tensor(operand) and operand.meta["val"].is_floating_point():
            for k in range(len(call.shape(operand))):
                call.use(operand, k, "table")
    dim %= len(axes)
    kept = [term for k, term in enumerate(axes) if k != dim]
    for k, (term, row) in enumerate(zip(axes, rows, strict=True)):
        if k == dim:
            freeze(term, _WHY)
            freeze(row, _WHY)
            call.mix(term, kept)
            call.mix(row, kept)
            continue
        if size(term) != size(row):
            raise TermError("rows of another shape")
        unify(term, row)
        restrict(term, maps)
    call.kind("pre")
    return [resolve(term) for term in axes]
