"""Expected accuracy: the pool's probability of each answer, and its paired gain."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from onefold.ensemble.pool import ClassPool, mean_pool
from onefold.fold.expected import expected_gain, expected_hits
from onefold.inference import ANY


class Table(nn.Module):
    """Puts out a row of a table for an index."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows[x[:, 0].long()]


DATA = [torch.arange(3).reshape(3, 1).float()]
A = Table(torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
B = Table(torch.tensor([[1.0, 0.0], [0.5, 0.0], [0.0, 3.0]]))


def test_hits_are_the_pool_s_probability_of_the_answer() -> None:
    hits = expected_hits([A, B], {"a": A, "b": B}, mean_pool([1.0, 1.0]), DATA, ANY)
    q = (A.rows.double().softmax(-1) + B.rows.double().softmax(-1)) / 2  # pool and mean alike
    torch.testing.assert_close(hits["a"], torch.stack([q[0, 0], q[1, 1], q[2, 0]]))
    torch.testing.assert_close(hits["b"], torch.stack([q[0, 0], q[1, 0], q[2, 1]]))


def test_the_gain_is_paired() -> None:
    first, second = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0.8, 0.7, 0.6])
    found = expected_gain(first.double(), second.double())
    assert found.gain == pytest.approx(0.1)
    assert found.error == pytest.approx(0.0, abs=1e-6)
    assert found.leads
    assert "+10.00 percentage points" in str(found)
    even = expected_gain(torch.tensor([0.1, 0.9]), torch.tensor([0.9, 0.1]))
    assert not even.leads
    one = expected_gain(torch.tensor([0.9]), torch.tensor([0.1]))
    assert math.isinf(one.error)
    assert not one.leads
    same = expected_gain(first, first)
    assert (same.gain, same.leads) == (0.0, False)


def test_half_of_the_opinion_is_the_pool_s() -> None:
    seen = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64)
    even = torch.tensor([0.5, 0.5], dtype=torch.float64)
    pool = ClassPool(seen, even, torch.ones(2, dtype=torch.float64))
    hits = expected_hits([A, B], {"a": A}, pool, DATA, ANY)["a"]
    rows = [A.rows.double(), B.rows.double()]
    q = (pool.combined(rows).softmax(-1) + sum(row.softmax(-1) for row in rows) / 2) / 2
    torch.testing.assert_close(hits, torch.stack([q[0, 0], q[1, 1], q[2, 0]]))
