"""Unification of axis terms: what holds for every term, and the case that each step is for."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_terms import terms_of

from onefold.symmetry.terms import (
    ALL,
    ODD,
    POSITIVE,
    Atom,
    Case,
    Prod,
    Sum,
    Term,
    TermError,
    atoms,
    freeze,
    product,
    resolve,
    size,
)
from onefold.symmetry.unification import cut, split, unify


def drawn_pair(total: int, seed: int) -> tuple[Term, Term]:
    draw, pool = random.Random(seed), []
    return terms_of(total, draw, pool=pool), terms_of(total, draw, pool=pool)


totals = st.integers(2, 48)
draws = st.integers(0, 10**9)


def coordinates(term: Term) -> list[tuple[tuple[Atom, int], ...]]:
    """What may move at each coordinate, in order: (atom, index) for each free atom.

    Two terms with equal lists carry the same map.
    """
    term = resolve(term)
    if isinstance(term, Atom):
        return [() if term.frozen or term.size == 1 else ((term, k),) for k in range(term.size)]
    if isinstance(term, Sum):
        return [found for part in term.parts for found in coordinates(part)]
    assert isinstance(term, Prod)
    return [
        tuple(itertools.chain(*choice))
        for choice in itertools.product(*map(coordinates, term.parts))
    ]


@settings(deadline=None)
@given(totals, draws)
def test_unify_keeps_sizes_is_idempotent_and_symmetric(total: int, seed: int) -> None:
    a, b = drawn_pair(total, seed)
    unify(a, b)
    assert size(resolve(a)) == size(resolve(b)) == total
    first = coordinates(a), coordinates(b)
    maps = [atom.maps for found in first[0] for atom, _ in found]
    unify(a, b)
    unify(b, a)
    assert (coordinates(a), coordinates(b)) == first
    assert [atom.maps for found in coordinates(a) for atom, _ in found] == maps


@settings(deadline=None)
@given(totals, draws)
def test_unified_terms_carry_the_same_map(total: int, seed: int) -> None:
    a, b = drawn_pair(total, seed)
    unify(a, b)
    assert coordinates(a) == coordinates(b)


@settings(deadline=None)
@given(totals, draws)
def test_unify_never_widens_maps_or_thaws(total: int, seed: int) -> None:
    a, b = drawn_pair(total, seed)
    allowed = [frozenset.intersection(ALL, *(atom.maps for atom in atoms(t))) for t in (a, b)]
    ever = [frozenset().union(*(atom.maps for atom in atoms(t))) for t in (a, b)]
    frozen = not any(coordinates(a))
    unify(a, b)
    for atom in atoms(a):
        assert atom.maps <= ever[0] | ever[1]
        assert atom.maps >= allowed[0] & allowed[1]
    if frozen:
        assert not any(coordinates(b))


def test_unify_binds_atoms_and_intersects_their_maps() -> None:
    a, b = Atom(6, maps=POSITIVE), Atom(6, maps=ODD)
    unify(a, b)
    assert resolve(a) is resolve(b)
    assert resolve(a).maps == POSITIVE & ODD


def test_factors_are_refined_by_their_greatest_common_divisor() -> None:
    a, b = product([Atom(2), Atom(12)]), product([Atom(6), Atom(4)])
    unify(a, b)
    assert [size(part) for part in resolve(a).parts] == [2, 3, 4]
    assert coordinates(a) == coordinates(b)
    assert not any(atom.frozen for atom in atoms(a))
    c, d = (
        product([Atom(2), Atom(12)]),
        product([Atom(3), Atom(8)]),
    )  # 4 is common, the 2 x 3 and 3 x 2 before it do not match
    unify(c, d)
    assert [(size(part), part.frozen) for part in resolve(c).parts] == [
        (2, True),
        (3, True),
        (4, False),
    ]


def test_factors_without_a_common_divisor_freeze() -> None:
    a, b = product([Atom(3), Atom(4)]), product([Atom(4), Atom(3)])
    unify(a, b)
    assert all(atom.frozen for t in (a, b) for atom in atoms(t))
    assert atoms(a)[0].reason == "factors do not match"


def test_segments_are_refined_by_their_boundaries() -> None:
    a, b = Sum((Atom(5), Atom(3))), Sum((Atom(2), Atom(6)))
    unify(a, b)
    assert [size(part) for part in resolve(a).parts] == [2, 3, 3]
    assert coordinates(a) == coordinates(b)
    assert not any(atom.frozen for atom in atoms(a))


def test_an_axis_cannot_contain_itself() -> None:
    a = Atom(8)
    outer, _ = split(a, 4, 2)
    unify(
        a, Sum((outer, Atom(4)))
    )  # a = outer x 2 would have to begin with outer: nothing is left to move
    assert coordinates(a) == [()] * 8
    index, b = Atom(2, True), Atom(3)
    unify(b, Case(index, (b, Atom(3))))
    assert all(atom.frozen for atom in atoms(b))


def test_a_frozen_atom_freezes_what_it_meets_with_its_reason() -> None:
    a, b = Atom(6), Atom(6, frozen=True, reason="output of the network")
    unify(a, b)
    assert atoms(a)[0].frozen
    assert atoms(a)[0].reason == "output of the network"
    freeze(a, "later reason")
    assert atoms(a)[0].reason == "output of the network"


def test_different_sizes_do_not_unify() -> None:
    with pytest.raises(TermError):
        unify(Atom(3), Atom(4))
    with pytest.raises(TermError):
        split(Atom(6), 4, 2)
    with pytest.raises(TermError):
        cut(Atom(6), [4, 4])


def test_unifying_cases_compares_them_index_by_index() -> None:
    index, a, b, c, d = Atom(2, True), Atom(5), Atom(5), Atom(5), Atom(5)
    unify(Case(index, (a, b)), Case(index, (c, d)))
    assert resolve(a) is resolve(c)
    assert resolve(b) is resolve(d)
    assert resolve(a) is not resolve(b)
