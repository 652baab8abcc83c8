"""How many samples are needed: two where nothing is inverted, more than there are features where a
map inverts.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import onefold
from onefold.errors import DataError


def pair(wide: int = 40) -> list[nn.Module]:
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(nn.Sequential(nn.Linear(4, wide), nn.ReLU(), nn.Linear(wide, 3)).eval())
    return found


def convolutions() -> list[nn.Module]:
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        layers = (
            nn.Conv2d(1, 30, 3),
            nn.BatchNorm2d(30),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(30 * 16, 3),
        )
        found.append(nn.Sequential(*layers).eval())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 20])
@pytest.mark.parametrize(
    "way", ["permutation", "identity", "none", "weights", "transport", "zipit"]
)
def test_what_inverts_nothing_takes_few_samples(way: str, count: int) -> None:
    assert (
        onefold.merge(pair(), [torch.randn(count, 4)], align=way, fold="average").report.examples
        == count
    )


@pytest.mark.slow
@pytest.mark.parametrize("fold", ["soup", "greedy_soup", "auto", "average", "least_squares"])
def test_folds_of_fine_tunes_take_few_samples(fold: str) -> None:
    data = [(torch.randn(9, 4), torch.randint(3, (9,))) for _ in range(3)]
    made = onefold.merge(pair(), data, align="none", fold=fold).model
    assert all(bool(p.isfinite().all()) for p in made.parameters())


@pytest.mark.slow
def test_partial_merges_comparisons_and_default_repair_take_few_samples() -> None:
    data: list[Any] = [(torch.randn(9, 4), torch.randint(3, (9,))) for _ in range(2)]
    onefold.partial_merge(pair(), data, until=0.5)
    onefold.partial_merge(pair(), data, until=0.5, align="permutation")
    assert onefold.measure_pairs(pair(), data, points=3).aligned is not None
    assert (
        onefold.merge(
            convolutions(), [torch.randn(4, 1, 6, 6)], align="none", fold="average"
        ).report.repaired["norms"]
        == 1
    )


@pytest.mark.parametrize("way", ["cca", "procrustes"])
def test_what_inverts_names_group_width_and_a_way_out(way: str) -> None:
    with pytest.raises(DataError) as caught:
        onefold.merge(pair(), [torch.randn(20, 4)], align=way, fold="average")
    message = str(caught.value)
    assert "Group g0 has 40 features but the calibration data gave only 20 samples" in message
    assert "at least 41 samples" in message
    assert "'permutation' or 'none'" in message
    assert (
        onefold.merge(pair(), [torch.randn(41, 4)], align=way, fold="average").report.examples == 41
    )


def test_groups_that_get_a_permutation_anyway_do_not_ask_for_more() -> None:
    assert (
        onefold.merge(
            pair(), [torch.randn(20, 4)], align="rotation", fold="average"
        ).report.examples
        == 20
    )  # behind a ReLU


def test_one_sample_has_no_correlation() -> None:
    with pytest.raises(
        DataError, match="gave only 1 samples; pass enough examples for at least 2 samples"
    ):
        onefold.merge(pair(), [torch.randn(1, 4)], align="permutation", fold="average")
