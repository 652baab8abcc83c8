"""Kernels of repulsion against their formulas, written out."""

from __future__ import annotations

import math

import pytest
import torch

from onefold.errors import PersistentError
from onefold.explore.persistent.kernels import (
    cosine,
    gaussian,
    hinge,
    inverse,
    kernel_named,
    kernels,
)

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
