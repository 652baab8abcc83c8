"""Vertices: where they start, curves between two networks, and growing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from small_networks import Plain, trained
from soft_networks import bits, same_bits
from subspace_steps import DATA, sgd, steps

import onefold


def test_the_first_vertex_is_the_model_and_the_others_start_on_their_own() -> None:
    model = Plain()
    space = onefold.Subspace(model, "simplex", seed=3)
    assert torch.equal(space.vertex(0)(DATA[0][0]), model.eval()(DATA[0][0]))
    flat = [torch.cat([p.flatten() for p in v.parameters() if p.dim() > 1]) for v in space.vertices]
    assert all(
        abs(F.cosine_similarity(flat[i], flat[j], 0)) < 0.2 for i, j in ((0, 1), (0, 2), (1, 2))
    )
    again = onefold.Subspace(model, "simplex", seed=3)
    assert same_bits(bits(space.vertex(2)), bits(again.vertex(2)))
    other = onefold.Subspace(model, "simplex", seed=4)
    assert not same_bits(bits(space.vertex(2)), bits(other.vertex(2)))


def test_the_generator_of_the_process_is_left_alone() -> None:
    model = Plain()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    space = onefold.Subspace(model, "simplex").train()
    space(DATA[0][0])
    space.ensemble(2)
    assert torch.equal(torch.rand(3), expected)


def test_a_curve_between_two_networks_keeps_its_ends() -> None:
    a, b = trained(Plain, 0), trained(Plain, 1)
    curve = onefold.Subspace.between(a, b).train()
    optimiser = torch.optim.SGD(
        [p for p in curve.parameters() if p.requires_grad], 0.05, momentum=0.9
    )
    start = onefold.evaluate(curve.at(0.5), DATA).nll
    for _ in range(30):
        for x, y in DATA:
            optimiser.zero_grad()
            F.cross_entropy(curve(x), y).backward()
            optimiser.step()
    assert torch.equal(curve.vertex(0)(DATA[0][0]), a(DATA[0][0]))
    assert torch.equal(curve.at(1.0)(DATA[0][0]), b(DATA[0][0]))
    assert onefold.evaluate(curve.at(0.5), DATA).nll < 0.5 * start


def test_a_simplex_grows_by_a_vertex() -> None:
    line = onefold.Subspace(Plain(), "line").train()
    steps(line, sgd(line), 3)
    ends = [bits(line.vertex(k)) for k in range(2)]
    grown = line.grow()
    assert (grown.shape.name, grown.shape.vertices, grown.fixed) == ("simplex", 3, (0, 1))
    assert grown.training
    steps(grown, sgd(grown), 3)
    assert all(same_bits(bits(grown.vertex(k)), ends[k]) for k in range(2))
    given_one = line.grow(trained(Plain, 5), fixed=())
    assert same_bits(bits(given_one.vertex(2)), bits(trained(Plain, 5)))
