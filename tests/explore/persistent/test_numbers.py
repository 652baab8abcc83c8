"""Kernels and the penalty on parameters against their formulas, written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from onefold.errors import PersistentError
from onefold.explore.persistent.kernels import (
    cosine,
    gaussian,
    hinge,
    inverse,
    kernel_named,
    kernels,
)
from onefold.explore.persistent.penalty import ParameterRepulsion, as_node

SQUARES = torch.tensor([0.0, 1e-3, 0.2, 1.0, 2.7, 30.0], dtype=torch.float64)


@pytest.mark.parametrize("width", [0.3, 1.0, 1.7])
def test_kernels_are_their_formulas(width: float) -> None:
    for found, formula in (
        (gaussian, lambda d2: math.exp(-d2 / (2 * width**2))),
        (inverse, lambda d2: 1 / (d2 + width**2 / 10)),
        (hinge, lambda d2: max(0.0, width - math.sqrt(d2 + 1e-12)) ** 2),
    ):
        expected = torch.tensor([formula(float(d2)) for d2 in SQUARES], dtype=torch.float64)
        torch.testing.assert_close(found(SQUARES, width)[0], expected)
    way, gone = (
        torch.tensor([-0.5, 0.0, 0.4, 1.2], dtype=torch.float64),
        torch.tensor([0.3, 0.0, 0.2, 2.0], dtype=torch.float64),
    )
    expected = [
        max(0.0, p) ** 2 / (r2 + width**2 / 100)
        for p, r2 in zip(way.tolist(), gone.tolist(), strict=True)
    ]
    torch.testing.assert_close(
        cosine(way, gone, width)[0], torch.tensor(expected, dtype=torch.float64)
    )


@pytest.mark.parametrize("width", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("kernel", [gaussian, inverse, hinge, cosine])
def test_slopes_are_those_of_the_values(kernel: object, width: float) -> None:
    first = torch.tensor([0.05, 0.2, 0.9, 2.1], dtype=torch.float64, requires_grad=True)
    second = torch.tensor([0.4, 0.1, 1.3, 2.0], dtype=torch.float64, requires_grad=True)
    arguments = (first, second) if kernel is cosine else (first,)
    value, *slopes = kernel(*arguments, width)  # type: ignore[operator]
    for slope, expected in zip(slopes, torch.autograd.grad(value.sum(), arguments), strict=True):
        torch.testing.assert_close(slope.detach(), expected)


def test_kernels_are_of_distances_directions_and_predictions() -> None:
    assert {e.name: kernels.get(e.name).of for e in kernels} == {
        "gaussian": "distance",
        "inverse": "distance",
        "hinge": "distance",
        "cosine": "direction",
        "function": "predictions",
    }
    assert float(gaussian(torch.tensor(1.0), 1.0)[0]) == pytest.approx(0.6065, abs=1e-4)
    assert float(hinge(torch.tensor(0.0).double(), 1.5)[1]) == pytest.approx(
        -1.5e6, rel=1e-4
    )  # the floor of the root is 1e-6


def test_kernels_are_found_by_name() -> None:
    assert kernel_named("hinge") is kernels.get("hinge")
    for name in ("gausian", "", 3, None):
        with pytest.raises(PersistentError, match="There is no kernel named"):
            kernel_named(name)  # type: ignore[arg-type]


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
