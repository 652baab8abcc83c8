"""Axis terms: sizes, splits, cuts and blocks."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from random_terms import terms_of

from onefold.symmetry.terms import (
    POSITIVE,
    UNIT,
    Atom,
    Case,
    Prod,
    Sum,
    atoms,
    product,
    resolve,
    restrict,
    size,
    substitute,
)
from onefold.symmetry.unification import cut, require_blocks, split

totals = st.integers(2, 48)
draws = st.integers(0, 10**9)


@settings(deadline=None)
@given(totals, draws)
def test_random_terms_have_their_size(total: int, seed: int) -> None:
    assert size(terms_of(total, random.Random(seed))) == total


@settings(deadline=None)
@given(totals, draws, st.data())
def test_split_and_cut_keep_sizes(total: int, seed: int, data: st.DataObject) -> None:
    term = terms_of(total, random.Random(seed))
    inner = data.draw(st.sampled_from([d for d in range(1, total + 1) if total % d == 0]))
    outer_part, inner_part = split(term, total // inner, inner)
    assert (size(outer_part), size(inner_part)) == (total // inner, inner)
    assert size(resolve(term)) == total
    first = data.draw(st.integers(1, total - 1))
    pieces = cut(term, [first, total - first])
    assert [size(piece) for piece in pieces] == [first, total - first]
    assert size(resolve(term)) == total


def test_cases_become_segments_when_their_index_is_flattened_into_them() -> None:
    index, a, b = Atom(2, True), Atom(5), Atom(5)
    flat = product([index, Case(index, (a, b))])
    assert isinstance(flat, Sum)
    assert flat.parts == (a, b)
    assert substitute(Case(index, (a, b)), index, 1) is b
    assert resolve(Case(index, (a, a))) is a


def test_blocks_are_required_of_each_segment_without_tying_segments() -> None:
    a, b = Atom(8), Atom(16)
    require_blocks(Sum((a, b)), 4, "blocks")
    assert [size(part) for part in resolve(a).parts] == [2, 4]
    assert [size(part) for part in resolve(b).parts] == [4, 4]
    assert atoms(a)[1] is not atoms(b)[1]
    c = Atom(6)
    require_blocks(Sum((c, Atom(2))), 4, "blocks")
    assert atoms(c)[0].frozen


def test_restrict_reaches_all_atoms() -> None:
    term = Sum((Prod((Atom(2), Atom(3))), Atom(4), UNIT))
    restrict(term, POSITIVE)
    assert {atom.maps for atom in atoms(term)} == {POSITIVE}
