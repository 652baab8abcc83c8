"""The numbers behind subspaces: which vertices repel each other, and what weights points have."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

import onefold
from onefold.errors import SubspaceError
from onefold.explore.subspace import mixing
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


@pytest.mark.parametrize("vertices", [3, 4])
def test_the_penalty_reaches_every_vertex_of_a_simplex(vertices: int) -> None:
    torch.manual_seed(0)
    space = onefold.Subspace(
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), "simplex", vertices
    )
    reached: set[int] = set()
    for _ in range(40):
        space.zero_grad()
        space.sample()
        space.diversity_penalty().backward()
        touched = {
            k
            for k, vertex in enumerate(space.vertices)
            if any(p.grad is not None and p.grad.any() for p in vertex.parameters())
        }
        assert len(touched) == 2
        reached |= touched
    assert reached == set(range(vertices))


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


@pytest.mark.parametrize("compared", [(), (0,), (0, 2)])
@pytest.mark.parametrize("pair", [(0, 1), (2, 0)])
@pytest.mark.parametrize("way", ["piece by piece", "all at once"])
def test_points_likenesses_and_their_gradients(
    compared: tuple[int, ...], pair: tuple[int, int], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mixture against its definition, differentiated by autograd; some tensors of some vertices
    are not trained.
    """
    if way == "all at once":
        monkeypatch.setattr(mixing, "on_cpu", lambda _: False)
    monkeypatch.setattr(mixing, "PART", 8)  # nodes of one or two tensors each
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 2), (3,), (4, 3), ())
    vertices = [
        [
            torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_(
                (k, t) != (1, 2)
            )
            for t, shape in enumerate(shapes)
        ]
        for k in range(3)
    ]
    rows = [[0.2, 0.5, 0.3, 0.1], [0.5, 0.0, 0.3, 0.1], [0.3, 0.5, 0.4, 0.8]]
    points, likeness = mixing.mix(vertices, mixing.Draw(rows, pair, compared))
    expected = [sum(rows[k][t] * vertices[k][t] for k in range(3)) for t in range(4)]
    loss = sum(((t + 1) * p.square()).sum() for t, p in enumerate(points[:3]))
    wanted = sum(((t + 1) * p.square()).sum() for t, p in enumerate(expected[:3]))
    if compared:
        a, b = (torch.cat([vertices[k][t].flatten() for t in compared]) for k in pair)
        cosine = (a @ b) ** 2 / (a @ a * (b @ b))
        assert likeness is not None
        torch.testing.assert_close(likeness, cosine)
        loss, wanted = loss + 5 * likeness, wanted + 5 * cosine
    else:
        assert likeness is None
    for found, right in zip(points, expected, strict=True):
        torch.testing.assert_close(found, right)
    trained = [tensor for vertex in vertices for tensor in vertex if tensor.requires_grad]
    gradients = torch.autograd.grad(loss, trained, allow_unused=True)
    for found, right in zip(
        gradients, torch.autograd.grad(wanted, trained, allow_unused=True), strict=True
    ):
        if right is None:
            assert found is None or not found.any()
        else:
            torch.testing.assert_close(found, right)


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
