"""Correlations out of moments against numpy, between all pairs of members, and where features do
not vary.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from onefold.alignment import Moments
from onefold.errors import DataError


def three(rows: int = 60, width: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    return [
        base + 0.7 * torch.randn(rows, width, generator=generator, dtype=torch.float64) + 5 * k
        for k in range(3)
    ]


@pytest.mark.parametrize("reference", [0, 2])
@pytest.mark.parametrize("every", [False, True])
def test_correlations_are_those_of_numpy(reference: int, every: bool) -> None:
    members = three()
    found = Moments(3, 4, reference, every=every)
    found.update([m[:25] for m in members])
    found.update([m[25:] for m in members])
    for i in range(3):
        for j in range(3):
            if not every and reference not in (i, j) and i != j:
                with pytest.raises(DataError, match="No cross moments"):
                    found.correlation_between(i, j)
                continue
            expected = np.corrcoef(members[i].numpy().T, members[j].numpy().T)[:4, 4:]
            np.testing.assert_allclose(found.correlation_between(i, j), expected, atol=1e-12)
            if i == reference:
                np.testing.assert_allclose(found.correlation(j), expected, atol=1e-12)


def test_features_that_hardly_vary_correlate_with_nothing() -> None:
    a = torch.randn(80, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a = (a - a.mean()) / a.std(unbiased=False)
    members = [a * torch.tensor([[1.0, 1.0, 1.0]]), a * torch.tensor([[0.0, 0.9e-12, 1.5e-12]])]
    found = Moments(2, 3)
    found.update(members)
    torch.testing.assert_close(
        found.correlation(1)[0], torch.tensor([0.0, 0.0, 1.0]).double(), atol=1e-6, rtol=0
    )
    assert found.variances[1, 0] == 0


def test_numbers_that_are_kept() -> None:
    for members, width, sites in ((2, 3, 1), (4, 5, 2)):
        sums = 2 * sites * members * width
        assert (
            Moments(members, width, 0, sites=sites).numbers == sums + (2 * members - 1) * width**2
        )
        assert (
            Moments(members, width, 0, full=False, sites=sites).numbers
            == sums + members * width + (members - 1) * width**2
        )
        assert Moments(members, width, None, sites=sites).numbers == sums + members * width**2
        assert (
            Moments(members, width, 0, every=True, sites=sites).numbers
            == sums + members * (members + 1) // 2 * width**2
        )
