"""Where an axis may take another map for each index of its neighbour."""

from __future__ import annotations

from onefold.symmetry.fibres import fibres
from onefold.symmetry.terms import Atom, product


def test_a_fibre_needs_its_index_beside_it_everywhere() -> None:
    h, d, rows, columns = Atom(2), Atom(3), Atom(7, True), Atom(5, True)
    heads = product([h, d])
    assert fibres([[heads, rows], [columns, heads]], []) == {d: [h]}
    assert d not in fibres([[heads, rows], [d, columns]], [])  # a tensor that holds d without h
    assert d not in fibres(
        [[heads, rows], [columns, heads]], [(d, h)]
    )  # an operator that sums over h and keeps d
    assert fibres([[h, d, rows], [columns, heads]], []) == {d: [h]}  # beside it on another axis
    assert d not in fibres([[product([h, h, d]), rows], [columns, heads]], [])  # which of the two?
