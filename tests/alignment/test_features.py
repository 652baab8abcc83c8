"""Features for matchers: groups, fibres, pooled places, cropped widths and a consensus."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from onefold.alignment.features import (
    MEAN,
    TIE,
    ConsensusFeatures,
    CroppedFeatures,
    MemberPair,
    PooledFeatures,
    likeness,
)
from onefold.alignment.moments import Moments
from onefold.symmetry import GroupMap

ROWS = 50


def drawn(*scales: float, width: int = 6) -> list[Tensor]:
    """Features of one member for each scale, correlated with one another."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(ROWS, width, generator=generator, dtype=torch.float64)
    return [
        scale * (common + torch.randn(ROWS, width, generator=generator, dtype=torch.float64))
        for scale in scales
    ]


def moments_of(members: list[Tensor], every: bool = False) -> Moments:
    moments = Moments(len(members), members[0].shape[1], every=every)
    moments.update(members)
    return moments


def covariance(a: Tensor, b: Tensor) -> Tensor:
    """By numpy, for features in columns."""
    joint = np.cov(a.numpy(), b.numpy(), rowvar=False, bias=True)
    return torch.from_numpy(joint[: a.shape[1], a.shape[1] :])


def test_likeness_adds_at_most_the_tie_and_tells_equal_correlations_apart() -> None:
    x = torch.randn(ROWS, 1, dtype=torch.float64)
    reference, member = torch.cat([x, 2 * x], 1), torch.cat([2 * x, x], 1)
    moments = moments_of([reference, member])
    torch.testing.assert_close(moments.correlation(1), torch.ones(2, 2, dtype=torch.float64))
    alike = 2 * 1 * 2 / (1 + 4)  # deviations of 1 and 2, in any unit
    expected = 1 + TIE * torch.tensor([[alike, 1.0], [1.0, alike]], dtype=torch.float64)
    torch.testing.assert_close(likeness(moments, 1), expected, rtol=0, atol=1e-9)


def test_features_that_never_vary_are_alike() -> None:
    still = torch.ones(ROWS, 2, dtype=torch.float64)
    torch.testing.assert_close(
        likeness(moments_of([still, still]), 1), torch.full((2, 2), TIE, dtype=torch.float64)
    )


def test_a_block_is_one_fibre_of_each_member() -> None:
    members = drawn(1.0, 3.0)
    block = MemberPair(moments_of(members), 1, fibres=3).block(0, 2)
    ours, theirs = members[0][:, 0:2], members[1][:, 4:6]
    assert (block.width, block.reference) == (2, 0)
    torch.testing.assert_close(block.covariance(0), covariance(ours, ours))
    torch.testing.assert_close(block.covariance(1), covariance(theirs, theirs))
    torch.testing.assert_close(block.cross_covariance(1), covariance(ours, theirs))
    torch.testing.assert_close(block.deviations(0), ours.std(0, correction=0))
    torch.testing.assert_close(block.deviations(1), theirs.std(0, correction=0))
    correlation = torch.from_numpy(np.corrcoef(ours.numpy(), theirs.numpy(), rowvar=False)[:2, 2:])
    torch.testing.assert_close(block.correlation(1), correlation)
    other = MemberPair(moments_of(members), 1, fibres=3).block(0, 1)
    assert not torch.allclose(other.correlation(1), correlation, atol=0.1)


def test_pooled_places_count_alike_whatever_their_scale() -> None:
    members = drawn(1.0, 2.0)
    once = moments_of(members)
    large = moments_of([1000 * member for member in members])
    pooled = PooledFeatures([once, large])
    assert (pooled.width, pooled.reference) == (6, 0)
    for k in range(2):
        unit = once.covariance(k) / once.covariance(k).diagonal().mean()
        torch.testing.assert_close(pooled.covariance(k), unit)
    torch.testing.assert_close(pooled.correlation(1), once.correlation(1))
    scale = (once.covariance(0).diagonal().mean() * once.covariance(1).diagonal().mean()).sqrt()
    torch.testing.assert_close(pooled.cross_covariance(1), once.cross_covariance(1) / scale)
    other = moments_of(drawn(1.0, 2.0)[::-1])
    apart = PooledFeatures([once, other]).correlation(1)
    torch.testing.assert_close(apart, (once.correlation(1) + other.correlation(1)) / 2)


def test_cropped_features_have_the_width_of_their_member() -> None:
    members = drawn(1.0, 3.0)
    cropped = CroppedFeatures(moments_of(members), widths=(4, 6))
    assert cropped.width == 4
    torch.testing.assert_close(cropped.covariance(0), covariance(*[members[0][:, :4]] * 2))
    torch.testing.assert_close(cropped.covariance(1), covariance(*[members[1]] * 2))
    torch.testing.assert_close(
        cropped.cross_covariance(1), covariance(members[0][:, :4], members[1])
    )
    assert cropped.correlation(1).shape == (4, 6)
    assert [len(cropped.deviations(k)) for k in range(2)] == [4, 6]


def test_a_consensus_is_the_mean_of_the_others_mapped_features() -> None:
    """Member 1 by a permutation and member 2 by a dense map; of a fibre in the middle."""
    members = drawn(1.0, 2.0, 0.5)
    moments = moments_of(members, every=True)
    fibre, order = slice(2, 5), torch.tensor([2, 0, 1])
    dense = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    maps = {
        0: GroupMap.identity(3),
        1: GroupMap("permutation", order),
        2: GroupMap("dense", dense, torch.linalg.inv(dense)),
    }
    features = ConsensusFeatures(moments, 0, maps, fibre)
    own, first, second = (member[:, fibre] for member in members)
    mapped = [first[:, order], second @ dense.T]
    assert (features.width, features.reference) == (3, MEAN)
    torch.testing.assert_close(features.covariance(0), covariance(own, own))
    mean = sum(covariance(x, x) for x in mapped) / 2
    torch.testing.assert_close(features.covariance(MEAN), mean)
    cross = sum(covariance(x, own) for x in mapped) / 2
    torch.testing.assert_close(features.cross_covariance(0), cross)
    deviations = torch.stack([x.std(0, correction=0) for x in mapped])
    torch.testing.assert_close(features.deviations(MEAN), deviations.mean(0))
    correlations = [
        covariance(x, own) / torch.outer(s, own.std(0, correction=0))
        for x, s in zip(mapped, deviations, strict=True)
    ]
    torch.testing.assert_close(features.correlation(0), sum(correlations) / 2)
    unmapped = sum(covariance(x, own) for x in (first, second)) / 2
    assert not torch.allclose(features.cross_covariance(0), unmapped, atol=0.05)
