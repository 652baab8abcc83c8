"""Streaming moments against numpy, merging, stability, and the sizes that bound the memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from process_groups import in_a_group, run_both

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


def blocks(
    seed: int, members: int, width: int, sizes: list[int], offset: float = 0.0
) -> list[list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        [
            torch.randn(n, width, dtype=torch.float64, generator=generator) * (k + 1) + offset
            for k in range(members)
        ]
        for n in sizes
    ]


def problem(parts: list[list[torch.Tensor]], **options: object) -> Moments:
    moments = Moments(len(parts[0]), parts[0][0].shape[1], **options)  # type: ignore[arg-type]
    for part in parts:
        moments.update(part)
    return moments


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    members=st.integers(1, 4),
    width=st.integers(1, 6),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
def test_equal_numpy(seed: int, members: int, width: int, sizes: list[int]) -> None:
    parts = blocks(seed, members, width, sizes, offset=3.0)
    reference = seed % members
    moments = problem(parts, reference=reference)
    rows = [torch.cat([p[k] for p in parts]).numpy() for k in range(members)]
    for k in range(members):
        np.testing.assert_allclose(moments.means[k], rows[k].mean(0), atol=1e-12)
        np.testing.assert_allclose(
            moments.covariance(k), np.atleast_2d(np.cov(rows[k].T, bias=True)), atol=1e-11
        )
        np.testing.assert_allclose(moments.variances[k], rows[k].var(0), atol=1e-11)
        centred = (
            (rows[reference] - rows[reference].mean(0)).T
            @ (rows[k] - rows[k].mean(0))
            / len(rows[k])
        )
        np.testing.assert_allclose(moments.cross_covariance(k), centred, atol=1e-11)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), cut=st.integers(0, 5), full=st.booleans())
def test_merging_equals_one_pass(seed: int, cut: int, full: bool) -> None:
    parts = blocks(seed, 3, 4, [3, 1, 6, 2, 5], offset=-2.0)
    whole = problem(parts, reference=1, full=full)
    left = problem(parts[:cut], reference=1, full=full) if cut else Moments(3, 4, 1, full=full)
    right = problem(parts[cut:], reference=1, full=full) if cut < 5 else Moments(3, 4, 1, full=full)
    merged = left.merge(right)
    assert merged.count == whole.count
    torch.testing.assert_close(merged.means, whole.means)
    torch.testing.assert_close(merged.variances, whole.variances)
    for k in (0, 2):
        torch.testing.assert_close(merged.cross_covariance(k), whole.cross_covariance(k))
        if full:
            torch.testing.assert_close(merged.covariance(k), whole.covariance(k))


@in_a_group
def _rank(rank: int, folder: str) -> None:
    parts = blocks(3, 2, 4, [5, 3, 7, 2])
    own = problem(parts[2 * rank : 2 * rank + 2])
    torch.save(
        {"covariance": own.reduced().covariance(1), "alone": own.covariance(1)},
        f"{folder}/rank{rank}.pt",
    )


@pytest.mark.slow
def test_two_processes_reduce_to_what_one_would_have(tmp_path: Path) -> None:
    run_both(_rank, f"file://{tmp_path}/meeting", str(tmp_path))
    first, second = (
        torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)
    )
    assert torch.equal(first["covariance"], second["covariance"])
    torch.testing.assert_close(
        first["covariance"], problem(blocks(3, 2, 4, [5, 3, 7, 2])).covariance(1)
    )
    assert not torch.allclose(first["alone"], first["covariance"])


def test_sites_are_centred_by_themselves_and_pooled() -> None:
    low, high = blocks(0, 2, 3, [40]), blocks(1, 2, 3, [60], offset=50.0)
    pooled = Moments(2, 3, sites=2)
    for site, parts in enumerate((low, high)):
        for part in parts:
            pooled.update(part, site)
    expected = (40 * problem(low).covariance(1) + 60 * problem(high).covariance(1)) / 100
    torch.testing.assert_close(pooled.covariance(1), expected)
    torch.testing.assert_close(
        pooled.means, (40 * problem(low).means + 60 * problem(high).means) / 100
    )
    assert (problem([*low, *high]).covariance(1) - expected).abs().max() > 100, (
        "one centre for both would have hidden the features"
    )


def test_merging_leaves_its_inputs_alone() -> None:
    left, right = (problem(blocks(seed, 2, 3, [4])) for seed in (0, 1))
    before = left.covariance(0).clone()
    left.merge(right)
    assert torch.equal(left.covariance(0), before)


def test_float32_features_with_a_large_mean_stay_accurate() -> None:
    parts = [[part[0].float()] for part in blocks(0, 1, 3, [1000] * 10, offset=1000.0)]
    exact = torch.cat([p[0].double() for p in parts]).var(0, unbiased=False)
    torch.testing.assert_close(problem(parts).variances[0], exact, rtol=1e-5, atol=0.0)
    # The textbook formula in float32, E[x^2] - E[x]^2, is the negative control: it loses every
    # digit here.
    rows = torch.cat([p[0] for p in parts])
    naive = (rows**2).mean(0) - rows.mean(0) ** 2
    assert ((naive - exact.float()).abs() > 1e-3 * exact.float()).any()


def test_memory_is_two_k_minus_one_squares() -> None:
    assert problem(blocks(0, 5, 7, [8])).numbers == (2 * 5 - 1) * 7**2 + 2 * 5 * 7
    assert problem(blocks(0, 5, 7, [8]), reference=None, full=False).numbers == 3 * 5 * 7


def test_correlations_are_bounded_and_zero_for_a_constant_feature() -> None:
    parts = blocks(0, 2, 4, [50])
    parts[0][1][:, 2] = 5.0
    correlation = problem(parts).correlation(1)
    assert correlation.abs().max() <= 1 + 1e-12
    assert torch.equal(correlation[:, 2], torch.zeros(4, dtype=torch.float64))


def test_blocks_that_do_not_fit_are_refused() -> None:
    moments = Moments(2, 3)
    with pytest.raises(DataError, match=r"Expected 2 blocks of shape \(n, 3\)"):
        moments.update([torch.zeros(4, 3), torch.zeros(4, 2)])
    with pytest.raises(DataError, match="No features were collected"):
        _ = moments.means


@pytest.mark.parametrize("mean", [1000.0, -1000.0, 4.0, -4.0, 0.0])
@pytest.mark.parametrize("full", [False, True])
def test_a_feature_is_constant_if_it_deviates_by_less_than_a_millionth_of_its_mean(
    mean: float, full: bool
) -> None:
    swing = torch.tensor([1.0, -1.0] * 20, dtype=torch.float64)
    near, far = 0.5e-6 * abs(mean), 2e-6 * abs(mean) + 1e-9
    columns = [torch.full((40,), mean).double(), mean + near * swing, mean + far * swing]
    moments = Moments(2, 3, full=full)
    moments.update([torch.stack(columns, 1), torch.stack(columns[::-1], 1)])
    assert moments.constant.tolist() == [[True, True, False], [False, True, True]]
