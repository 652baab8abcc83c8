"""Second derivatives through a subspace, and the transforms of torch.func."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

import onefold

X = torch.linspace(-1, 1, 15, dtype=torch.float64).view(5, 3)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def space(shape: str = "simplex", **options: Any) -> onefold.Subspace:
    made = onefold.Subspace(network(), shape, seed=1, **options).train()
    made.sample()
    return made


def loss_of(made: onefold.Subspace) -> Tensor:
    return made(X).square().mean() + made.diversity_penalty()


def by_hand(made: onefold.Subspace, tensors: Sequence[Tensor], beta: float) -> Tensor:
    """The same loss, by plain operators of the vertices' tensors."""
    count, names = made.shape.vertices, [ref.name for ref in made.varied]
    vertices = [tensors[k * len(names) : (k + 1) * len(names)] for k in range(count)]
    shares = made.coefficients.expand(len(names), count) if made.coefficients.dim() == 1 else None
    if shares is None:
        rows = list(dict.fromkeys(ref.module for ref in made.varied))
        shares = torch.stack([made.coefficients[rows.index(r.module)] for r in made.varied])
    point = {
        name: sum(shares[t, k] * vertices[k][t] for k in range(count))
        for t, name in enumerate(names)
    }
    value = functional_call(network(), point, (X,)).square().mean()
    if beta:
        weights = [[v[t].flatten() for t in range(len(names)) if v[t].dim() > 1] for v in vertices]
        a, b = (torch.cat(weights[k]) for k in made.drawn_point.pair)
        value = value + beta * (a @ b) ** 2 / ((a @ a) * (b @ b))
    return value


@pytest.mark.parametrize("beta", [0.0, 2.0])
@pytest.mark.parametrize("shape", ["line", "curve", "simplex"])
@pytest.mark.parametrize("layerwise", [False, True])
def test_gradients_can_be_differentiated_again(shape: str, beta: float, layerwise: bool) -> None:
    made = space(shape, beta=beta, layerwise=layerwise)
    own = list(made.parameters())
    loss = loss_of(made)
    first = torch.autograd.grad(loss, own, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), own)
    copies = [p.detach().clone().requires_grad_() for p in own]
    other = by_hand(made, copies, beta)
    again = torch.autograd.grad(other, copies, create_graph=True)
    hessian = torch.autograd.grad(sum(g.square().sum() for g in again), copies)
    torch.testing.assert_close(loss, other)
    torch.testing.assert_close(first, again)
    torch.testing.assert_close(second, hessian)
    plain = torch.autograd.grad(loss_of(made), own)
    torch.testing.assert_close([g.detach() for g in first], list(plain))


def test_a_gradient_penalty_on_the_inputs_trains_the_vertices() -> None:
    made = space()
    x = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(made(x).sum(), x, create_graph=True)
    slope.square().sum().backward()
    found = [p.grad.clone() for p in made.parameters() if p.grad is not None]
    copies = [p.detach().clone().requires_grad_() for p in made.parameters()]
    names = [ref.name for ref in made.varied]
    point = {
        name: sum(c * copies[k * len(names) + t] for k, c in enumerate(made.coefficients))
        for t, name in enumerate(names)
    }
    (same,) = torch.autograd.grad(
        functional_call(network(), point, (x,)).sum(), x, create_graph=True
    )
    same.square().sum().backward()
    wanted = [p.grad for p in copies if p.grad is not None]
    assert found
    torch.testing.assert_close(found, wanted[: len(found)])


def test_a_fixed_vertex_gets_no_gradient() -> None:
    made = space("line", fixed=(0,))
    own = [p for p in made.parameters() if p.requires_grad]
    first = torch.autograd.grad(loss_of(made), own, create_graph=True)
    sum(g.square().sum() for g in first).backward()
    assert all(p.grad is None for p in made.vertices[0].parameters())
    assert all(p.grad is not None for p in own)


@pytest.mark.parametrize("training", [True, False])
def test_functional_call_runs_with_the_given_tensors(training: bool) -> None:
    made = space().train(training)
    before = made(X).detach()
    given = {name: p.detach() * 2 for name, p in made.named_parameters()}
    doubled = functional_call(made, given, (X,))
    assert not torch.allclose(doubled, before)
    assert torch.equal(made(X), before)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2)
    torch.testing.assert_close(made(X), doubled)


def test_the_transforms_of_torch_func() -> None:
    made = space()
    named = {name: p.detach() for name, p in made.named_parameters()}
    found = grad(lambda tensors: functional_call(made, tensors, (X,)).square().mean())(named)
    wanted = torch.autograd.grad(made(X).square().mean(), list(made.parameters()))
    torch.testing.assert_close(list(found.values()), list(wanted))
    torch.testing.assert_close(vmap(made)(X), made(X))
    torch.testing.assert_close(jvp(made, (X,), (X,))[0], made(X))
    several = {name: torch.stack([p, 2 * p]) for name, p in named.items()}
    made.eval()
    both = vmap(lambda tensors: functional_call(made, tensors, (X,)))(several)
    torch.testing.assert_close(both[0], made(X))
    assert made(X).requires_grad  # nothing of a transform is left
    loss_of(made.train()).backward()
    assert all(p.grad is not None for p in made.parameters())
