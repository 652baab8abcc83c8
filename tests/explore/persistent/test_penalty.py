"""The penalty on parameters and its gradient against their formulas, written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from onefold.explore.persistent.kernels import kernels
from onefold.explore.persistent.penalty import ParameterRepulsion, as_node


def test_one_tensor_is_enough() -> None:
    start, end, now = (torch.full((2,), value, dtype=torch.float64) for value in (0.0, 1.0, 0.5))
    repulsion = ParameterRepulsion(kernels.get("gaussian"), [start], torch.ones(1, 1))
    repulsion.add([end], False)
    value, gradient = repulsion.evaluate([now], 2.0, 1.0, True)
    assert float(value) == pytest.approx(2 * math.exp(-0.125))
    assert gradient is not None
    torch.testing.assert_close(
        gradient[0], torch.full((2,), 2 * math.exp(-0.125) * -0.5 * 2 * -0.5 / 2).double()
    )


def tensors(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((3, 2), (3,), (2, 3))
    ]


GROUPS = torch.tensor([[1, 1, 0], [0, 0, 1]])  # a weight with its bias, and a weight alone


def by_hand(
    kernel: str,
    parameters: list[Tensor],
    start: list[Tensor],
    solutions: list[list[Tensor]],
    factor: float,
    width: float,
) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for solution in solutions:
        for group in ([0, 1], [2]):

            def joined(parts: list[Tensor], group: list[int] = group) -> Tensor:
                return torch.cat([parts[k].flatten() for k in group])

            theta, origin, end = joined(parameters), joined(start), joined(solution)
            length = (end - origin).square().sum() + 1e-12
            if kernel == "cosine":
                u, v = theta - origin, end - origin
                arguments: tuple[Tensor, ...] = (u @ v / length, u.square().sum() / length)
            else:
                arguments = ((theta - end).square().sum() / length,)
            total = total + kernels.get(kernel).values(*arguments, width)[0]
    return factor / 2 * total


@pytest.mark.parametrize("kernel", ["gaussian", "inverse", "hinge", "cosine"])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("displaced", [False, True])
def test_the_penalty_and_its_gradient_are_their_formulas(
    kernel: str, count: int, displaced: bool
) -> None:
    start, solutions = tensors(0), [tensors(2 + k) for k in range(count)]
    parameters = [p.requires_grad_() for p in tensors(1)]
    repulsion = ParameterRepulsion(kernels.get(kernel), start, GROUPS)
    for solution in solutions:
        repulsion.add(
            [a - b for a, b in zip(solution, start, strict=True)] if displaced else solution,
            displaced,
        )
    expected = by_hand(kernel, parameters, start, solutions, 3.0, 1.5)
    wanted = torch.autograd.grad(expected, parameters)
    value, gradient = repulsion.evaluate([p.detach() for p in parameters], 3.0, 1.5, True)
    torch.testing.assert_close(value, expected.detach())
    assert gradient is not None
    for found, right in zip(gradient, wanted, strict=True):
        torch.testing.assert_close(found, right)
    alone, nothing = repulsion.evaluate([p.detach() for p in parameters], 3.0, 1.5, False)
    torch.testing.assert_close(alone, value)
    assert nothing is None
    node = as_node(value, gradient, parameters)
    for found, right in zip(torch.autograd.grad(2 * node, parameters), wanted, strict=True):
        torch.testing.assert_close(found, 2 * right)


@pytest.mark.parametrize("kernel", ["gaussian", "cosine"])
def test_a_group_that_did_not_move_is_left_out_and_the_number_of_groups_stays(kernel: str) -> None:
    start, solution, parameters = tensors(0), tensors(2), tensors(1)
    solution[2] = start[2].clone()
    repulsion = ParameterRepulsion(kernels.get(kernel), start, GROUPS)
    repulsion.add(solution, False)
    value, gradient = repulsion.evaluate(parameters, 1.0, 1.0, True)
    both = by_hand(kernel, parameters, start, [solution], 1.0, 1.0)
    rest = (
        torch.zeros((), dtype=torch.float64)
        if kernel == "cosine"
        else 0.5 * kernels.get(kernel).values(torch.tensor(1e12).double(), 1.0)[0]
    )
    if kernel == "gaussian":
        torch.testing.assert_close(value, both - rest)
    assert gradient is not None
    assert not gradient[2].any()
    assert gradient[0].any()
    torch.testing.assert_close(
        repulsion.lengths([torch.ones(3, 2), torch.ones(3), torch.ones(2, 3)]),
        torch.tensor([9.0, 6.0]).double(),
    )


def test_only_parameters_that_ask_for_it_get_a_gradient() -> None:
    parameters = tensors(1)
    parameters[0].requires_grad_()
    parameters[2].requires_grad_()
    gradient = [torch.full_like(p, float(k + 1)) for k, p in enumerate(parameters)]
    as_node(torch.tensor(4.0), gradient, parameters).backward()
    assert parameters[0].grad is not None
    assert parameters[1].grad is None
    assert parameters[2].grad is not None
    assert bool((parameters[0].grad == 1).all())
    assert bool((parameters[2].grad == 3).all())


@pytest.mark.parametrize("kernel", ["gaussian", "inverse", "hinge", "cosine"])
@pytest.mark.parametrize("scale", [0.1, 1e-3, 30.0])
@pytest.mark.parametrize("displaced", [False, True])
def test_distances_are_told_in_lengths_of_the_way_to_the_solution(
    kernel: str, scale: float, displaced: bool
) -> None:
    """A round that moves a tenth as far is repelled as strongly at a tenth of the distance."""
    start, found = tensors(0), []
    for factor in (1.0, scale):
        now, end = (
            [a + factor * (b - a) for a, b in zip(start, tensors(seed), strict=True)]
            for seed in (1, 2)
        )
        repulsion = ParameterRepulsion(kernels.get(kernel), start, GROUPS)
        repulsion.add(
            [b - a for a, b in zip(start, end, strict=True)] if displaced else end, displaced
        )
        value, gradient = repulsion.evaluate(now, 1.0, 1.5, True)
        assert gradient is not None
        found.append([value, *(factor * g for g in gradient)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("kernel", ["gaussian", "inverse", "hinge", "cosine"])
@pytest.mark.parametrize("displaced", [False, True])
def test_an_anchor_says_whether_it_holds_the_solution_or_the_way_to_it(
    kernel: str, displaced: bool
) -> None:
    start, end = tensors(0), tensors(2)
    way = [b - a for a, b in zip(start, end, strict=True)]
    repulsion = ParameterRepulsion(kernels.get(kernel), start, GROUPS)
    repulsion.add(way if displaced else end, displaced)
    (anchor,) = repulsion.anchors
    for held, own in zip(anchor.tensors, way if anchor.displaced else end, strict=True):
        torch.testing.assert_close(held, own)
