"""Settings and linear algebra that the dense matchers share, against plain numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from matcher_features import ROWS, WIDTH, covariance, features, moments_of

from onefold.alignment.matchers.cca import CCA
from onefold.alignment.matchers.dense import matched_correlations, resolved, roots, shrunk
from onefold.alignment.matchers.permutation import best_permutation
from onefold.alignment.matchers.procrustes import Procrustes
from onefold.errors import AlignmentError


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
@pytest.mark.parametrize(("gamma", "prior"), [(0.0, 0.0), (10.0, 0.0), (0.5, 0.1), (0.0, 2.0)])
def test_ridge_and_prior_are_relative_to_each_members_own_variance(
    scale: float, gamma: float, prior: float
) -> None:
    a, b = features(scale)
    found = shrunk(moments_of(a, b), 1, gamma, prior)
    own, other, cross = covariance(a, a), covariance(b, b), covariance(a, b)
    t_r, t_k = np.trace(own) / WIDTH, np.trace(other) / WIDTH
    matched = np.eye(WIDTH)[best_permutation(moments_of(a, b), 1).numpy()]
    np.testing.assert_allclose(
        found.reference, own + (gamma + prior) * t_r * np.eye(WIDTH), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(
        found.member, other + (gamma + prior) * t_k * np.eye(WIDTH), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(
        found.cross, cross + prior * math.sqrt(t_r * t_k) * matched, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize(
    "matcher", [CCA(), CCA(0.5, 0.0), CCA(2.0, 1.0), Procrustes(), Procrustes(0.0)], ids=str
)
@pytest.mark.parametrize("scale", [1e-3, 50.0])
def test_a_member_of_other_scale_is_mapped_as_it_would_be_at_that_of_the_reference(
    matcher: CCA | Procrustes, scale: float
) -> None:
    a, b = features(1.0)
    plain, scaled = matcher.match(moments_of(a, b), 1), matcher.match(moments_of(a, scale * b), 1)
    assert plain.map.inverse is not None
    assert scaled.map.inverse is not None
    factor = scale if isinstance(matcher, CCA) else 1.0
    torch.testing.assert_close(scaled.map.forward * factor, plain.map.forward)
    torch.testing.assert_close(scaled.map.inverse / factor, plain.map.inverse)
    torch.testing.assert_close(scaled.scores, plain.scores)


def test_defaults_are_those_that_were_chosen_on_held_out_images() -> None:
    assert (CCA().regularization, CCA().prior, Procrustes().prior, Procrustes().fixes_mean) == (
        10.0,
        0.1,
        0.1,
        False,
    )


@pytest.mark.parametrize("name", ["regularization", "prior"])
@pytest.mark.parametrize("value", [-1e-9, -1.0, math.inf, math.nan])
def test_settings_that_are_negative_or_not_finite_are_refused(name: str, value: float) -> None:
    with pytest.raises(AlignmentError, match=f"The {name} is"):
        CCA(**{name: value}).match(moments_of(*features()), 1)
    assert CCA(0.0, 0.0).match(moments_of(*features()), 1).scores.isfinite().all()


@pytest.mark.parametrize("constant", [0, 1])
def test_members_that_never_vary_are_refused(constant: int) -> None:
    pair = list(features())
    pair[constant] = torch.ones(ROWS, WIDTH, dtype=torch.float64)
    with pytest.raises(AlignmentError, match="never vary"):
        shrunk(moments_of(*pair), 1, 1.0, 0.0)


def test_roots_are_roots_and_directions_without_variance_are_raised_to_the_floor() -> None:
    matrix = torch.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
    half, inverse = roots(matrix)
    torch.testing.assert_close(half @ half, matrix)
    torch.testing.assert_close(half @ inverse, torch.eye(2).double())
    half, inverse = roots(torch.diag(torch.tensor([4.0, 0.0, 1e-13])).double())
    floor = 4e-10
    torch.testing.assert_close(
        half.diagonal(), torch.tensor([2.0, floor**0.5, floor**0.5]).double()
    )
    torch.testing.assert_close(
        inverse.diagonal(), torch.tensor([0.5, floor**-0.5, floor**-0.5]).double()
    )


def test_correlations_of_combinations_that_hardly_vary_are_zero() -> None:
    a, b = features(2.0)
    left = torch.eye(WIDTH).double()
    left[:, 0] *= 1e-9
    found = matched_correlations(moments_of(a, b), 1, left, torch.eye(WIDTH).double())
    plain = torch.tensor([np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(1, WIDTH)])
    torch.testing.assert_close(
        found, torch.cat([plain, torch.zeros(1).double()]).sort(descending=True).values
    )
    for seed in range(20):  # rounding does not lead beyond 1
        own = features(1.0, seed)[0]
        assert (
            matched_correlations(
                moments_of(own, 3 * own), 1, torch.eye(WIDTH).double(), torch.eye(WIDTH).double()
            ).max()
            <= 1
        )
    same = matched_correlations(
        moments_of(a, -a), 1, torch.eye(WIDTH).double(), torch.eye(WIDTH).double()
    )
    torch.testing.assert_close(same, -torch.ones(WIDTH).double())


def orthogonal(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q


@pytest.mark.parametrize("rank", [1, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_directions_without_variance_are_turned_as_the_preferred_map_turns_them(
    rank: int, seed: int
) -> None:
    """A rotation that is measured in `rank` directions alone, and preferred, is found whole."""
    rotation, basis = orthogonal(seed), orthogonal(seed + 10)
    values = torch.tensor([3.0, 2.5, 2.0, 1.5, 1.0, 0.5]).double()
    values[rank:] = 0.0
    u, s, vh = torch.linalg.svd(rotation @ basis @ torch.diag(values) @ basis.T)
    mirrored = torch.cat([u[:, :rank], -u[:, rank:]], 1)  # as good a decomposition
    for given in (u, mirrored):
        torch.testing.assert_close(resolved(given, s, vh, lambda: rotation) @ vh, rotation)
    assert not all(torch.allclose(given @ vh, rotation) for given in (u, mirrored))
    other = orthogonal(seed + 20)  # what the data say stays, whatever is preferred
    turned = resolved(u, s, vh, lambda: other) @ vh
    torch.testing.assert_close(turned @ basis[:, :rank], rotation @ basis[:, :rank])
    torch.testing.assert_close(turned @ turned.T, torch.eye(6).double())
