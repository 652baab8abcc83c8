"""Lengths and products of lists of tensors against plain sums in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from onefold.explore.persistent.controls import random_displacement
from onefold.explore.persistent.distances import by_group, differences, inner, scale_, squares, wide


def drawn(seed: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 4), (5,), (2, 3, 2, 2)]
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


def test_products_by_hand() -> None:
    a, b = [torch.tensor([3.0, 4.0]), torch.tensor([2.0])], [torch.ones(2), torch.tensor([-5.0])]
    assert inner(a, b).tolist() == [7.0, -10.0]
    assert squares(a).tolist() == [25.0, 4.0]
    assert [d.tolist() for d in differences(a, b)] == [[2.0, 3.0], [7.0]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_products_are_those_of_single_tensors_in_any_memory_order(dtype: torch.dtype) -> None:
    a, b = drawn(0, dtype), drawn(1, dtype)
    a[2] = a[2].contiguous(memory_format=torch.channels_last)
    expected = torch.stack([(x.double() * y.double()).sum() for x, y in zip(a, b, strict=True)])
    found = inner(a, b)
    assert found.dtype == wide(a) == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_sums_by_group_and_factors_in_place() -> None:
    members = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    assert by_group(torch.tensor([1.0, 10.0, 100.0]), members).tolist() == [101.0, 10.0]
    tensors = [torch.ones(2), torch.ones(1)]
    assert scale_(tensors, torch.tensor([2.0, -3.0])) is tensors
    assert [t.tolist() for t in tensors] == [[2.0, 2.0], [-3.0]]


def test_a_random_displacement_is_as_long_in_every_group_and_points_elsewhere() -> None:
    way, members = drawn(0), torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    found = random_displacement(way, members, seed=3, number=1)
    lengths = [by_group(squares(each), members.double()) for each in (found, way)]
    torch.testing.assert_close(*lengths)
    cosine = by_group(inner(found, way), members.double()) / lengths[1]
    assert (cosine.abs() < 0.9).all()
    again = random_displacement(way, members, seed=3, number=1)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    for seed, number in ((3, 2), (4, 1)):
        other = random_displacement(way, members, seed=seed, number=number)
        assert not torch.equal(found[0], other[0])
