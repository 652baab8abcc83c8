"""Solved layers in front of a batch norm have the scale of a member's, and the same function."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import onefold
from onefold.fold.least_squares.scales import restore_scales
from onefold.symmetry import find_symmetries


def network(seed: int, transposed: bool = False, groups: int = 1) -> nn.Sequential:
    torch.manual_seed(seed)
    middle = (
        nn.ConvTranspose2d(8, 8, 3, groups=groups)
        if transposed
        else nn.Conv2d(8, 8, 3, groups=groups)
    )
    model = nn.Sequential(
        *(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        *(middle, nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Flatten(), nn.LazyLinear(4)),
    ).train()
    with torch.no_grad():
        for _ in range(30):
            model(torch.randn(32, 2, 10, 10))
        for norm in model[1], model[4]:
            norm.weight.uniform_(0.2, 0.5)
            norm.bias.normal_(0.0, 0.3)
    return model.eval()


@pytest.mark.parametrize(("transposed", "groups"), [(False, 1), (False, 2), (True, 1), (True, 2)])
def test_the_function_stays_and_the_scale_is_the_references(transposed: bool, groups: int) -> None:
    model, inputs = network(0, transposed, groups).double(), torch.randn(9, 2, 10, 10).double()
    reference = network(1, transposed, groups).double().state_dict()
    reference["0.weight"], reference["3.weight"] = (
        3.7 * reference["0.weight"],
        0.21 * reference["3.weight"],
    )
    layers = find_symmetries(model, inputs).layers
    with torch.no_grad():
        before = model(inputs)
        head = model[7].weight.clone()
        restore_scales(model.state_dict(), layers, reference)
        torch.testing.assert_close(model(inputs), before, rtol=1e-10, atol=1e-10)
    assert torch.equal(model[7].weight, head)
    for name in ("0.weight", "3.weight"):
        own = model.state_dict()[name]
        assert own.square().mean() == pytest.approx(float(reference[name].square().mean()))


def test_a_channel_of_little_variance_keeps_a_larger_scale() -> None:
    model, inputs = network(0).double(), torch.randn(9, 2, 10, 10).double()
    with torch.no_grad():
        model[0].weight[0] *= 1e-3
        model[1].running_var[0] = 1e-6
        before = model(inputs)
        small = {name: 1e-4 * tensor for name, tensor in model.state_dict().items()}
        restore_scales(model.state_dict(), find_symmetries(model, inputs).layers, small)
        torch.testing.assert_close(model(inputs), before, rtol=1e-8, atol=1e-8)
    assert (model[1].running_var > 0).all()
    assert (model[4].running_var > 0).all()


def test_weights_that_are_zero_or_not_finite_stay() -> None:
    model, inputs = network(0), torch.randn(9, 2, 10, 10)
    layers = find_symmetries(model, inputs).layers
    with torch.no_grad():
        model[0].weight.zero_()
    before = copy.deepcopy(model.state_dict())
    broken = before | {"0.weight": torch.full_like(before["0.weight"], torch.inf)}
    for reference in (before, broken):
        restore_scales(model.state_dict(), layers[:1], reference)
        assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)


@pytest.mark.parametrize("width", [None, 1.5, 2.0])
def test_folds_and_pruned_networks_have_it(width: float | None) -> None:
    """Without it the scale of the first layer would be that of its output."""
    models, data = [network(seed) for seed in range(2)], [torch.randn(64, 2, 10, 10)]
    with torch.no_grad():
        for model in models:
            model[0].weight *= 20
            model[1].running_mean *= 20
            model[1].running_var *= 400
    fold = onefold.LeastSquares(width=width)
    folded = onefold.merge(models, data, align="none", fold=fold).model
    pruned = onefold.prune(models[0], data, width=0.5).model
    wanted = float(models[0][0].weight.square().mean())
    for found in (folded, pruned):
        assert float(found[0].weight.detach().square().mean()) == pytest.approx(wanted, rel=1e-3)
