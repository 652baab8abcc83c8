"""Points of a subspace as plain networks, and ensembles of them."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import Plain, Residual
from soft_networks import (
    Attention,
    Recurrent,
    Tied,
    VisionTransformer,
    bits,
    inputs_for,
    random_network,
    same_bits,
)
from subspace_steps import DATA, sgd, steps
from torch import Tensor, nn

import onefold


def initialise(network: nn.Module) -> None:
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0, 0.2)


@pytest.mark.parametrize("kind", [Plain, Residual, VisionTransformer, Recurrent, Attention, Tied])
def test_points_are_plain_networks_of_the_models_class(kind: type[nn.Module]) -> None:
    model = random_network(kind, 0) if kind not in (Plain, Residual) else kind()
    before = copy.deepcopy(bits(model))
    space = onefold.Subspace(model, "simplex", init=initialise)
    x = DATA[0][0] if kind in (Plain, Residual) else inputs_for(kind)
    space.train()(x)
    weights = (0.2, 0.5, 0.3)
    point = space.at(weights, [x])
    assert type(point) is kind
    assert list(point.state_dict()) == list(model.state_dict())
    assert not point.training
    assert all(p.requires_grad for p in point.parameters())
    for name, value in point.named_parameters():
        mixed = sum(w * v.get_parameter(name) for w, v in zip(weights, space.vertices, strict=True))
        assert isinstance(mixed, Tensor)
        assert torch.allclose(value, mixed, atol=1e-6)
    point.load_state_dict(model.state_dict())
    assert torch.equal(
        point.eval()(x), copy.deepcopy(model).eval()(x)
    )  # shared tensors are shared again
    assert same_bits(bits(model), before)
    assert len(list(point.parameters())) == len(list(model.parameters()))


def test_statistics_are_computed_for_every_point_and_those_of_training_stay() -> None:
    space = onefold.Subspace(Residual(), "line").train()
    steps(space, sgd(space), 4)
    before = {k: v.clone() for k, v in space.state_dict().items()}
    first, second = space.at(0.1, DATA), space.at(0.9, DATA)
    norms = [name for name in first.state_dict() if name.endswith("running_mean")]
    assert norms
    assert not torch.allclose(first.state_dict()[norms[0]], second.state_dict()[norms[0]])
    again = copy.deepcopy(first)
    onefold.recalibrate(again, DATA)
    assert torch.allclose(again(DATA[0][0]), first(DATA[0][0]), atol=1e-5)
    assert all(torch.equal(v, before[k]) for k, v in space.state_dict().items())
    assert space.training


def test_ensembles_average_what_they_say() -> None:
    space = onefold.Subspace(Plain(), "line")
    x, y = DATA[0]
    members = [space.at(0.2), space.at(0.8)]
    logits = torch.stack([m(x) for m in members])
    assert torch.allclose(space.ensemble(2, ensemble="logits")(x), logits.mean(0), atol=1e-6)
    assert torch.allclose(space.ensemble(2)(x).exp(), logits.softmax(-1).mean(0), atol=1e-6)
    assert onefold.evaluate(space.ensemble(2), [(x, y)]).nll == pytest.approx(
        onefold.evaluate(members, [(x, y)]).nll, abs=1e-6
    )
    simplex = onefold.Subspace(Plain(), "simplex")
    assert torch.equal(simplex.ensemble(3, seed=1)(x), simplex.ensemble(3, seed=1)(x))
    assert not torch.equal(simplex.ensemble(3, seed=1)(x), simplex.ensemble(3, seed=2)(x))


def test_evaluation_mode_runs_at_the_midpoint() -> None:
    space = onefold.Subspace(Plain(), "simplex").train()
    steps(space, sgd(space), 2)
    x = DATA[0][0]
    assert torch.allclose(space.eval()(x), space.midpoint()(x), atol=1e-6)
    steps(space.train(), sgd(space), 1)
    assert torch.allclose(space.eval()(x), space.midpoint()(x), atol=1e-6)
