"""Points of a subspace, likenesses of vertices, and their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import onefold
from onefold.explore.subspace import mixing


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
