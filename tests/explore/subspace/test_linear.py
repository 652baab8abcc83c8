"""Linear combinations of tensors, whole and piece by piece, against plain sums."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from onefold.explore.subspace import linear
from onefold.explore.subspace.linear import combine, combine_and_compare

ROWS = [(0.2, 0.5, 0.3), (0.0, 1.0, 0.0), (-1.0, 0.0, 2.0), (0.0, 0.0, 0.0)]


def drawn(count: int, *shape: int, channels_last: bool = False) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=generator) for _ in range(count)]
    if channels_last:
        tensors = [t.contiguous(memory_format=torch.channels_last) for t in tensors]
    return tensors


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("piece", [7, 65536])
def test_sums_are_the_plain_ones(
    piece: int, channels_last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "PIECE", piece)
    inputs = drawn(3, 2, 5, 3, 4, channels_last=channels_last)
    for out, row in zip(combine(inputs, ROWS), ROWS, strict=True):
        expected = sum(c * t for c, t in zip(row, inputs, strict=True))
        torch.testing.assert_close(out, expected)
        assert out.stride() == inputs[0].stride()


def test_two_that_sum_to_one_are_interpolated_exactly_at_the_ends() -> None:
    a, b = drawn(2, 9)
    first, second, middle = combine([a, b], [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)])
    assert torch.equal(first, a)
    assert torch.equal(second, b)
    torch.testing.assert_close(middle, (a + b) / 2)


@pytest.mark.parametrize("piece", [4, 65536])
def test_inner_products_come_with_the_sum(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "PIECE", piece)
    inputs = [torch.tensor([1.0, 2.0, 0.0] * 3), torch.tensor([3.0, -1.0, 5.0] * 3), torch.ones(9)]
    total, products = combine_and_compare(inputs, (1.0, 1.0, 0.0), (0, 1))
    assert total.tolist() == [4.0, 1.0, 5.0] * 3
    assert products.tolist() == [3.0, 15.0, 105.0]
    assert products.dtype == torch.float32
    wide = combine_and_compare([t.double() for t in inputs], (1.0, 1.0, 0.0), (0, 1))[1]
    assert wide.dtype == torch.float64
