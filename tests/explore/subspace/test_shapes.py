"""Shapes of subspaces: the weights of points, and which vertices repel each other."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onefold.errors import SubspaceError
from onefold.explore.subspace.shapes import Shape


@pytest.mark.parametrize("vertices", [2, 3, 4, 6])
def test_every_two_vertices_of_a_simplex_repel_each_other_equally_often(vertices: int) -> None:
    shape, random, draws = Shape.of("simplex", vertices), np.random.default_rng(0), 6000
    seen = Counter(shape.pair(random) for _ in range(draws))
    ordered = list(permutations(range(vertices), 2))
    assert set(seen) == set(ordered)
    expected = draws / len(ordered)
    assert all(abs(seen[pair] - expected) < 5 * expected**0.5 for pair in ordered), seen


@pytest.mark.parametrize(("name", "vertices"), [("line", 2), ("curve", 3), ("curve", 5)])
def test_of_lines_and_curves_the_ends_repel_each_other(name: str, vertices: int) -> None:
    assert {Shape.of(name, vertices).pair(np.random.default_rng(k)) for k in range(20)} == {
        (0, vertices - 1)
    }


def test_points_and_middles_have_these_weights() -> None:
    line, curve, cubic, simplex = (
        Shape.of("line", None),
        Shape.of("curve", None),
        Shape.of("curve", 4),
        Shape.of("simplex", 4),
    )
    assert (line.vertices, curve.vertices, Shape.of("simplex", None).vertices) == (2, 3, 3)
    assert line.point(0.25) == pytest.approx((0.75, 0.25))
    assert curve.point(0.25) == pytest.approx((0.5625, 0.375, 0.0625))
    assert cubic.point(0.25) == pytest.approx((27 / 64, 27 / 64, 9 / 64, 1 / 64))
    assert (line.middle(), curve.middle(), simplex.middle()) == (
        (0.5, 0.5),
        (0.25, 0.5, 0.25),
        (0.25,) * 4,
    )
    assert simplex.corner(0) == (1.0, 0.0, 0.0, 0.0)
    assert simplex.corner(3) == (0.0, 0.0, 0.0, 1.0)
    assert line.point(0) == (1.0, 0.0)
    assert line.point(1) == (0.0, 1.0)


def test_ensembles_are_spread_from_a_fifth_to_four_fifths() -> None:
    line, random = Shape.of("line", None), np.random.default_rng(0)
    assert line.spread(1, random) == [(0.5, 0.5)]
    assert [b for _, b in line.spread(2, random)] == pytest.approx([0.2, 0.8])
    assert [b for _, b in line.spread(4, random)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert len(Shape.of("simplex", 3).spread(5, random)) == 5


@pytest.mark.parametrize(
    "weights",
    [
        (0.5, 0.5),
        (0.5, 0.5, 1e-5),
        (0.6, 0.5, -0.1),
        (0.5, float("nan"), 0.5),
        (1.0, 1e-5, -1e-5),
        (0.4, 0.4, 0.2 - 2e-6),
        (0.0, 0.0, 0.0),
    ],
)
def test_points_outside_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(SubspaceError, match="weights"):
        Shape.of("simplex", 3).point(weights)


def test_rounding_is_no_way_outside() -> None:
    shape = Shape.of("simplex", 3)
    assert shape.point((0.4, 0.4, 0.2 - 5e-7))
    assert shape.point((1.0, 5e-7, -5e-7))
    assert shape.point((1.0, 0.0, 0.0)) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "least", "most"), [("line", 2, 2), ("curve", 3, 20), ("simplex", 2, 1000)]
)
def test_shapes_have_so_many_vertices(name: str, least: int, most: int) -> None:
    for count in (least, most):
        assert Shape.of(name, count).vertices == count
    wanted = "exactly 2" if name == "line" else f"{least} to {most}"
    with pytest.raises(SubspaceError, match=f"A {name} has {wanted} vertices, not {most + 1}"):
        Shape.of(name, most + 1)
    for count in (least - 1, most + 1, 0, True, 2.0):
        with pytest.raises(SubspaceError, match="vertices"):
            Shape.of(name, count)  # type: ignore[arg-type]
    for index in (-1, least):
        with pytest.raises(SubspaceError, match="no vertex"):
            Shape.of(name, least).corner(index)
    for where in (-1e-9, 1 + 1e-9):
        with pytest.raises(SubspaceError):
            Shape.of(name, least).point(where)
    with pytest.raises(SubspaceError, match="at least one member"):
        Shape.of(name, least).spread(0, np.random.default_rng(0))


@given(
    name=st.sampled_from(["line", "curve", "simplex"]),
    more=st.integers(0, 4),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_drawn_points_lie_in_the_shape(name: str, more: int, seed: int) -> None:
    shape = Shape.of(name, None if name == "line" else 3 + more)
    for point in shape.draw(np.random.default_rng(seed), 5):
        assert shape.point(point) == point
        assert sum(point) == pytest.approx(1, abs=1e-12)
    assert len(set(shape.pair(np.random.default_rng(seed)))) == 2


def test_draws_are_uniform_over_the_simplex_and_the_line() -> None:
    drawn = torch.tensor(Shape.of("simplex", 3).draw(np.random.default_rng(0), 20000))
    assert torch.allclose(drawn.mean(0), torch.full((3,), 1 / 3, dtype=drawn.dtype), atol=0.01)
    assert torch.allclose(
        drawn.var(0), torch.full((3,), 1 / 18, dtype=drawn.dtype), atol=0.003
    )  # of Dirichlet(1, 1, 1)
    line = torch.tensor(Shape.of("line", None).draw(np.random.default_rng(0), 20000))[:, 1]
    assert abs(line.mean() - 0.5) < 0.01
    assert abs(line.var() - 1 / 12) < 0.003


def test_a_curve_of_three_is_the_quadratic_bezier() -> None:
    a = 0.3
    assert Shape.of("curve", None).point(a) == pytest.approx(((1 - a) ** 2, 2 * a * (1 - a), a**2))
